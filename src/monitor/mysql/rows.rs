//! Rows of text: what a server answers to a question.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::packet::{Fields, Packets, is_end, reply};

/// The most columns of an answer.
const COLUMNS_MAX: u64 = 512;

/// The most rows of an answer.
const ROWS_MAX: usize = 1024;

/// The most bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::monitor) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub(in crate::monitor) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let columns = &self.columns;
        self.rows.iter().map(move |values| Row { columns, values })
    }

    pub(in crate::monitor) fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    #[cfg(test)]
    pub(in crate::monitor) fn of(columns: &[&str], rows: &[&[Option<&str>]]) -> Self {
        let row =
            |row: &&[Option<&str>]| row.iter().map(|value| value.map(str::to_owned)).collect();
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.iter().map(row).collect(),
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(in crate::monitor) struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl<'a> Row<'a> {
    /// The value in the column of that name, in any case; `None` where there is none.
    pub(in crate::monitor) fn text(self, name: &str) -> Option<&'a str> {
        let named = |column: &String| column.eq_ignore_ascii_case(name);
        self.at(self.columns.iter().position(named)?)
    }

    pub(in crate::monitor) fn at(self, column: usize) -> Option<&'a str> {
        self.values.get(column)?.as_deref()
    }
}

/// Reads on behind the first packet of an answer, which counts its columns.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    packets: &mut Packets<S>,
    first: &[u8],
) -> Result<Rows, Error> {
    // `LOCAL INFILE` asks for a file of ours; the mark of a missing value is its first byte.
    let count = Fields(first).number()?;
    let count = count.ok_or(Error::Protocol("it asks for a file"))?;
    if count > COLUMNS_MAX {
        return Err(Error::Protocol("an answer has too many columns"));
    }
    let mut reader = Reader {
        packets,
        left: ANSWER_MAX,
    };
    let mut columns = Vec::new();
    for _ in 0..count {
        let column = reader.packet().await?;
        columns.push(column_name(&column)?);
    }
    if !is_end(&reader.packet().await?) {
        return Err(Error::Protocol("more columns than it counted"));
    }
    let mut rows = Vec::new();
    loop {
        let packet = reader.packet().await?;
        if is_end(&packet) {
            return Ok(Rows { columns, rows });
        }
        if rows.len() == ROWS_MAX {
            return Err(Error::Protocol("an answer has too many rows"));
        }
        rows.push(row(&packet, columns.len())?);
    }
}

/// Reads no more than an answer may have.
struct Reader<'a, S> {
    packets: &'a mut Packets<S>,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<'_, S> {
    async fn packet(&mut self) -> Result<Vec<u8>, Error> {
        let packet = self.packets.read().await?;
        let left = self.left.checked_sub(packet.len());
        self.left = left.ok_or(Error::Protocol("an answer is too long"))?;
        // A row may begin with any byte but that of an error.
        match packet.first() {
            Some(0xff) => reply(&packet).map(|_| packet),
            Some(_) | None => Ok(packet),
        }
    }
}

/// `Column_Definition_41`: catalog, schema, table, original table, name.
fn column_name(packet: &[u8]) -> Result<String, Error> {
    let mut fields = Fields(packet);
    for _ in 0..4 {
        fields.text()?;
    }
    Ok(lossy(fields.text()?.unwrap_or_default()))
}

fn row(packet: &[u8], columns: usize) -> Result<Vec<Option<String>>, Error> {
    let mut fields = Fields(packet);
    (0..columns)
        .map(|_| Ok(fields.text()?.map(lossy)))
        .collect()
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

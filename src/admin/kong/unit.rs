//! How `GET /status` writes amounts of memory.

use serde_json::Value;

use super::failure::Failure;

/// Digits behind the point where the client does not say.
const SCALE: usize = 2;

/// The most digits behind the point.
const SCALE_MAX: usize = 99;

/// What an amount of bytes is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// As a number.
    Bytes,
    /// As a text.
    Binary {
        bytes: u32,
        name: &'static str,
        scale: usize,
    },
}

impl Unit {
    /// # Errors
    /// A unit that is none, and a scale below 0; a scale that is no number is none.
    pub(super) fn read(query: &[(String, String)]) -> Result<Self, Failure> {
        let value = |name: &str| {
            let named = query.iter().find(|(one, _)| one == name);
            named.map(|(_, value)| value.as_str())
        };
        let unit = value("unit").unwrap_or("m");
        let (bytes, name) = match &*unit.to_ascii_lowercase() {
            "" | "b" => return Ok(Self::Bytes),
            "k" => (1 << 10, "KiB"),
            "m" => (1 << 20, "MiB"),
            "g" => (1 << 30, "GiB"),
            _ => {
                let why = format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')");
                return Err(Failure::bad_request(&why));
            }
        };
        let scale = read_scale(value("scale"))?;
        Ok(Self::Binary { bytes, name, scale })
    }

    pub(super) fn write(self, amount: u64) -> Value {
        match self {
            Self::Bytes => amount.into(),
            Self::Binary { bytes, name, scale } => {
                let amount = precise(amount) / f64::from(bytes);
                format!("{amount:.scale$} {name}").into()
            }
        }
    }
}

fn read_scale(text: Option<&str>) -> Result<usize, Failure> {
    match text.and_then(|text| text.parse::<f64>().ok()) {
        Some(scale) if scale < 0.0 => Err(Failure::bad_request(
            "scale must be equal or greater than 0",
        )),
        Some(scale) => Ok((0..SCALE_MAX)
            .find(|digits| u32::try_from(digits + 1).is_ok_and(|next| f64::from(next) > scale))
            .unwrap_or(SCALE_MAX)),
        None => Ok(SCALE),
    }
}

fn precise(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact below eight pebibytes")]
    let bytes = bytes as f64;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(unit: &str, scale: &str) -> Result<Value, Failure> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = [pair("unit", unit), pair("scale", scale)];
        Ok(Unit::read(&query)?.write(5_497_558))
    }

    #[test]
    fn memory_is_told_as_the_client_asks() {
        for (unit, scale, wanted) in [
            ("b", "3", json!(5_497_558)),
            ("k", "3", json!("5368.709 KiB")),
            ("M", "x", json!("5.24 MiB")),
            ("g", "3.9", json!("0.005 GiB")),
            ("m", "0", json!("5 MiB")),
        ] {
            assert_eq!(written(unit, scale), Ok(wanted), "{unit} {scale}");
        }
        assert!(written("m", "1e300").is_ok());
        let why = "invalid unit 'V' (expected 'k/K', 'm/M', or 'g/G')";
        assert_eq!(written("V", ""), Err(Failure::bad_request(why)));
        let why = "scale must be equal or greater than 0";
        assert_eq!(written("k", "-1"), Err(Failure::bad_request(why)));
    }
}

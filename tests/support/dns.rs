//! A name server on loopback that knows a few names.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{RData, Record};

/// What a name has.
#[derive(Clone, Debug)]
pub enum Has {
    /// An IPv4 address.
    Address(IpAddr),
    /// An SRV record: priority, weight, port and target.
    Service(u16, u16, u16, &'static str),
}

impl Has {
    fn data(&self) -> RData {
        match self {
            Self::Address(IpAddr::V4(address)) => RData::A(A(*address)),
            Self::Address(IpAddr::V6(_)) => unreachable!("the loopback of tests is IPv4's"),
            Self::Service(priority, weight, port, target) => {
                let target = target.parse().expect("a name");
                RData::SRV(SRV::new(*priority, *weight, *port, target))
            }
        }
    }
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl NameServer {
    pub fn start(records: Vec<(&'static str, Has)>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        thread::spawn(move || {
            let mut bytes = [0; 1500];
            while let Ok((read, from)) = socket.recv_from(&mut bytes) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let query = Message::from_vec(&bytes[..read]).expect("a question");
                let answer = answer(&query, &records).to_vec().expect("an answer");
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, ended }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(&[0], self.address);
        }
    }
}

fn answer(query: &Message, records: &[(&str, Has)]) -> Message {
    let question = query.queries[0].clone();
    let name = question.name().to_utf8();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.add_query(question.clone());
    let known: Vec<_> = records
        .iter()
        .filter(|(known, _)| *known == name.trim_end_matches('.'))
        .collect();
    if known.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    for (_, has) in known {
        let data = has.data();
        if data.record_type() == question.query_type() {
            answer.add_answer(Record::from_rdata(question.name().clone(), 300, data));
        }
    }
    answer
}

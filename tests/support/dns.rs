//! A name server that does as it is told: UDP and TCP on one port of 127.0.0.1.

#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const NAPTR: u16 = 35;

/// The data of an SRV record.
pub fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let mut data: Vec<u8> = [priority, weight, port].iter().flat_map(|n| n.to_be_bytes()).collect();
    data.extend(wire(target));
    data
}

/// The data of a NAPTR record.
pub fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Vec<u8> {
    let mut data: Vec<u8> = [order, preference].iter().flat_map(|n| n.to_be_bytes()).collect();
    for text in [flags, service, ""] {
        data.push(text.len() as u8);
        data.extend(text.as_bytes());
    }
    data.extend(wire(replacement));
    data
}

/// What a name server knows: owner, type, data. All hold a minute.
#[derive(Clone, Default)]
pub struct Zone(Vec<(String, u16, Vec<u8>)>);

impl Zone {
    /// Adds an address.
    pub fn host(mut self, name: &str, ip: &str) -> Zone {
        let (kind, data) = match ip.parse::<IpAddr>().unwrap() {
            IpAddr::V4(ip) => (A, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
        };
        self.0.push((name.into(), kind, data));
        self
    }

    /// Adds a server of a service.
    pub fn srv(mut self, name: &str, priority: u16, port: u16, target: &str) -> Zone {
        self.0.push((name.into(), SRV, srv(priority, 0, port, target)));
        self
    }

    /// Adds any record.
    pub fn record(mut self, name: &str, kind: u16, data: Vec<u8>) -> Zone {
        self.0.push((name.into(), kind, data));
        self
    }

    /// The answer to a question: names below `silent.test` are never answered.
    pub fn answer(&self, q: &Asked) -> Vec<Vec<u8>> {
        if q.name == "silent.test" || q.name.ends_with(".silent.test") {
            return Vec::new();
        }
        let name = q.name.to_ascii_lowercase();
        let here = || self.0.iter().filter(|r| r.0 == name);
        let records: Vec<_> =
            here().filter(|r| r.1 == q.kind).map(|r| (q.name.as_str(), r.1, 60, r.2.clone())).collect();
        let soa = records.is_empty().then_some(60);
        vec![q.reply(if here().next().is_some() { 0 } else { 3 }, false, &records, soa)]
    }

    /// A name server with this knowledge.
    pub fn serve(self) -> Dns {
        Dns::start(move |q| self.answer(q))
    }
}

/// One question as a server sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub name: String,
    pub kind: u16,
    pub tcp: bool,
    pub id: u16,
    pub from: SocketAddr,
    pub edns: bool,
    pub query: Vec<u8>,
}

pub fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn read_query(query: &[u8], tcp: bool, from: SocketAddr) -> Asked {
    assert_eq!(query[2] & 0x81, 1, "a recursive query");
    assert_eq!(&query[4..6], [0, 1], "one question");
    let (mut at, mut name) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let id = u16::from_be_bytes([query[0], query[1]]);
    Asked { name: name.join("."), kind, tcp, id, from, edns: query[11] == 1, query: query.to_vec() }
}

impl Asked {
    /// An answer with these flags and records (owner, type, ttl, data).
    pub fn reply(
        &self,
        rcode: u8,
        truncated: bool,
        records: &[(&str, u16, u32, Vec<u8>)],
        soa: Option<u32>,
    ) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        out.extend([0x81 | if truncated { 2 } else { 0 }, 0x80 | rcode, 0, 1]);
        out.extend((records.len() as u16).to_be_bytes());
        out.extend([0, u8::from(soa.is_some()), 0, 0]);
        out.extend(wire(&self.name));
        out.extend(self.kind.to_be_bytes());
        out.extend([0, 1]);
        let mut record = |owner: &str, kind: u16, ttl: u32, data: &[u8]| {
            out.extend(wire(owner));
            out.extend(kind.to_be_bytes());
            out.extend([0, 1]);
            out.extend(ttl.to_be_bytes());
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(data);
        };
        for (owner, kind, ttl, data) in records {
            record(owner, *kind, *ttl, data);
        }
        if let Some(minimum) = soa {
            let mut data = [wire("ns.test"), wire("admin.test"), vec![0; 16]].concat();
            data.extend(minimum.to_be_bytes());
            record("test", 6, 3600, &data);
        }
        out
    }

    /// The address records of this question's type.
    pub fn addresses(&self, ttl: u32, ips: &[&str]) -> Vec<Vec<u8>> {
        self.addresses_of(&self.name, ttl, ips)
    }

    pub fn addresses_of(&self, owner: &str, ttl: u32, ips: &[&str]) -> Vec<Vec<u8>> {
        let records: Vec<_> = self.data(ips).into_iter().map(|d| (owner, self.kind, ttl, d)).collect();
        vec![self.reply(0, false, &records, if records.is_empty() { Some(60) } else { None })]
    }

    pub fn data(&self, ips: &[&str]) -> Vec<Vec<u8>> {
        let parsed = ips.iter().map(|i| i.parse::<IpAddr>().unwrap());
        let mine = parsed.filter(|i| i.is_ipv4() == (self.kind == A));
        mine.map(|i| match i {
            IpAddr::V4(i) => i.octets().to_vec(),
            IpAddr::V6(i) => i.octets().to_vec(),
        })
        .collect()
    }
}

/// A name server on one port of 127.0.0.1, UDP and TCP.
pub struct Dns {
    pub addr: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Dns {
    pub fn start(script: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Dns {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().unwrap();
        let pause = Duration::from_millis(5);
        udp.set_read_timeout(Some(pause)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let script = Arc::new(script);
        let answer = {
            let asked = Arc::clone(&asked);
            move |query: &[u8], tcp, from| {
                let question = read_query(query, tcp, from);
                asked.lock().unwrap().push(question.clone());
                script(&question)
            }
        };
        let over_udp = {
            let (answer, stop) = (answer.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::SeqCst) {
                    if let Ok((n, from)) = udp.recv_from(&mut buffer) {
                        for reply in answer(&buffer[..n], false, from) {
                            let _ = udp.send_to(&reply, from);
                        }
                    }
                }
            })
        };
        let over_tcp = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let Ok((mut stream, from)) = tcp.accept() else {
                        std::thread::sleep(pause);
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query).unwrap();
                    for reply in answer(&query, true, from) {
                        let all = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
                        // In pieces, so that the client has to put them together.
                        for piece in all.chunks(700) {
                            let _ = stream.write_all(piece);
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
            })
        };
        Dns { addr, asked, stop, threads: vec![over_udp, over_tcp] }
    }

    /// One that hears and says nothing.
    pub fn silent() -> Dns {
        Dns::start(|_| Vec::new())
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

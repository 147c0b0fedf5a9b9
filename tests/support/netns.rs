//! A network of the test's own: a namespace behind a pair of virtual Ethernet devices. Its address
//! can be made to swallow packets and to answer again, while connections stay open.
//!
//! Needs root (CAP_NET_ADMIN); a test that asks for it without fails.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process;

/// The namespace; deleted when dropped.
pub struct NetNs {
    /// Name as `ip netns` knows it.
    pub name: String,
    /// Our end of the wire.
    pub local: Ipv4Addr,
    /// The far end: the address that swallows or answers.
    pub peer: Ipv4Addr,
    device: String,
    /// Addresses beyond it that were handed out.
    beyond: AtomicU32,
}

impl NetNs {
    /// A namespace whose address swallows every packet: no answer, no reset, no ICMP error.
    pub fn swallowing() -> NetNs {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Also removes namespaces when this program is killed.
        process::base();
        let pid = std::process::id();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reprise-{pid}-{number}");
        // Device names have at most 15 characters.
        let device = format!("rp{:x}{number:x}", pid & 0xff_ffff);
        // 198.18.0.0/15 is for tests of network equipment (RFC 2544); a /30 of it for each.
        let block = (pid.wrapping_mul(37).wrapping_add(number) % 0x7fff) * 4;
        let base = 0xc612_0000 + block;
        let (local, peer) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
        let ns = NetNs { name, local, peer, device, beyond: AtomicU32::new(0) };
        ip(&["netns", "add", &ns.name]);
        // A test program that was killed may have left it.
        let _ = process::command("ip").args(["route", "del", "unreachable", &format!("{peer}/32")]).output();
        let far = format!("{}p", ns.device);
        ip(&["link", "add", &ns.device, "type", "veth", "peer", "name", &far]);
        ip(&["link", "set", &far, "netns", &ns.name]);
        ip(&["addr", "add", &format!("{local}/30"), "dev", &ns.device]);
        ip(&["link", "set", &ns.device, "up"]);
        ns.inside(&["link", "set", "lo", "up"]);
        ns.inside(&["link", "set", &far, "name", "eth0"]);
        ns.inside(&["link", "set", "eth0", "up"]);
        // Without the address nobody would answer ARP, and the sender would get "no route to host".
        let mac = ns.output(&["cat", "/sys/class/net/eth0/address"]);
        ip(&["neigh", "replace", &peer.to_string(), "lladdr", mac.trim(), "nud", "permanent", "dev", &ns.device]);
        ns
    }

    /// The address begins to answer: with what listens inside, else with resets.
    pub fn answer(&self) {
        self.inside(&["addr", "replace", &format!("{}/30", self.peer), "dev", "eth0"]);
    }

    /// The address swallows again. A namespace without the address drops what is sent to it.
    pub fn swallow(&self) {
        self.inside(&["addr", "del", &format!("{}/30", self.peer), "dev", "eth0"]);
    }

    /// From now on packets to the address cannot even leave: the way to it is gone, or is there again.
    pub fn unreachable(&self, yes: bool) {
        let word = if yes { "replace" } else { "del" };
        ip(&["route", word, "unreachable", &format!("{}/32", self.peer)]);
    }

    /// Sets the largest packet, in bytes, of both ends.
    pub fn mtu(&self, bytes: u32) {
        ip(&["link", "set", &self.device, "mtu", &bytes.to_string()]);
        self.inside(&["link", "set", "eth0", "mtu", &bytes.to_string()]);
    }

    /// Runs a function in a thread that is inside, and gives what it made: sockets stay inside for ever.
    pub fn enter<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        enter(&self.name, make)
    }

    /// A namespace that is a router: see [`NetNs::beyond`].
    pub fn routing() -> NetNs {
        let ns = NetNs::swallowing();
        ns.answer();
        // Every error is told, however many there are.
        for (file, value) in [("ip_forward", "1"), ("icmp_ratelimit", "0"), ("icmp_msgs_per_sec", "100000")] {
            ns.output(&["sh", "-c", &format!("echo {value} > /proc/sys/net/ipv4/{file} || true")]);
        }
        ns
    }

    /// An address that our packets for it reach the router with. Its way goes on as `kind` says: `unreachable`
    /// (the router answers that the host cannot be reached), `prohibit` (a filter), or `nowhere` (it knows no such
    /// network).
    pub fn beyond(&self, kind: &str) -> Ipv4Addr {
        let number = self.beyond.fetch_add(1, Ordering::Relaxed);
        // The second half of the test network, as far from the wires as can be.
        let block = u32::from(self.local) & 0x1_fffc;
        let address = Ipv4Addr::from(0xc613_0000 + ((block << 1) & 0xfff8) + number);
        ip(&["route", "replace", &format!("{address}/32"), "via", &self.peer.to_string(), "dev", &self.device]);
        if kind != "nowhere" {
            self.inside(&["route", "replace", kind, &format!("{address}/32")]);
        }
        address
    }

    /// The router has the address itself now.
    pub fn mend(&self, address: Ipv4Addr) {
        self.inside(&["route", "flush", &format!("{address}/32")]);
        self.inside(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
    }

    /// A network behind this router, which hides it: what leaves has the router's address (its [`NetNs::peer`]).
    pub fn masquerade(&self) -> Lan {
        let lan = Lan { name: format!("{}-lan", self.name) };
        ip(&["netns", "add", &lan.name]);
        self.inside(&["link", "add", "lan", "type", "veth", "peer", "name", "far"]);
        self.inside(&["link", "set", "far", "netns", &lan.name]);
        self.inside(&["addr", "add", "10.77.0.1/24", "dev", "lan"]);
        self.inside(&["link", "set", "lan", "up"]);
        for args in [
            ["link", "set", "lo", "up"].as_slice(),
            &["addr", "add", "10.77.0.2/24", "dev", "far"],
            &["link", "set", "far", "up"],
            &["route", "add", "default", "via", "10.77.0.1"],
        ] {
            ip(&[&["-n", lan.name.as_str()], args].concat());
        }
        let nft = process::find("nft").expect("nft installed").display().to_string();
        self.output(&[&nft, "add table ip nat"]);
        self.output(&[&nft, "add chain ip nat post { type nat hook postrouting priority 100 ; }"]);
        self.output(&[&nft, "add rule ip nat post oifname eth0 masquerade random"]);
        lan
    }

    /// A command that runs inside (start it with [`process::spawn`]).
    pub fn command(&self, program: &str) -> Command {
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.name]).arg(process::find(program).expect("program installed"));
        command
    }

    /// Runs `ip ARGS` inside.
    fn inside(&self, args: &[&str]) {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(args);
        ip(&all);
    }

    fn output(&self, args: &[&str]) -> String {
        let mut all = vec!["netns", "exec", self.name.as_str()];
        all.extend_from_slice(args);
        process::run("ip", &all)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // Takes the devices with it.
        let _ = process::command("ip").args(["route", "del", "unreachable", &format!("{}/32", self.peer)]).output();
        let _ = process::command("ip").args(["link", "del", &self.device]).output();
        let _ = process::command("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A network behind a router.
pub struct Lan {
    name: String,
}

impl Lan {
    /// As [`NetNs::enter`].
    pub fn enter<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        enter(&self.name, make)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = process::command("ip").args(["netns", "del", &self.name]).output();
    }
}

fn enter<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).expect("the namespace's file");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("the namespace entered");
            make()
        });
        inside.join().expect("made inside the namespace")
    })
}

fn ip(args: &[&str]) {
    process::run("ip", args);
}

//! A link between two network namespaces, with a bridge at its far end.
//!
//! A test runs itself again in a namespace of its own (the near end), and from there once more in another
//! (the far end), with a pair of virtual interfaces between the two. The namespaces have no names: they end
//! with their processes in every case, and the rest of the system is not touched.

use crate::{
    common::secs,
    support::emulator::{Emulator, Ending},
};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{self, Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

/// The environment variable that tells a process which end it is.
const ROLE: &str = "CONPOOL_TEST_WIRE";
/// The prefix of the far end's output; the test harness prints other lines.
const PREFIX: &str = "wire: ";
/// Addresses reserved for documentation.
const NEAR: &str = "192.0.2.1/24";
const FAR: &str = "192.0.2.2/24";
const BRIDGE: ([u8; 4], u16) = ([192, 0, 2, 2], 10001);
/// A near end that takes longer is stuck.
const LIMIT: Duration = secs(30);
/// A trial of the needed commands; in a namespace of its own it can do no harm.
const TRIAL: &str = "ip link add near type veth peer name far \
     && iptables -w -A INPUT -p tcp -j DROP \
     && iptables -w -A INPUT -p tcp -j REJECT --reject-with tcp-reset \
     && echo 0 > /proc/sys/net/ipv4/icmp_ratelimit \
     && nsenter --net=/proc/self/ns/net true";

/// The link, as its near end sees it.
pub(crate) struct Wire {
    far: Child,
    orders: Option<ChildStdin>,
    words: BufReader<ChildStdout>,
}

/// Runs `body` at the near end of a link, in a process of its own. `test` is the name of the calling test.
/// Where namespaces are unavailable it prints why and returns.
#[track_caller]
pub(crate) fn at_the_near_end(test: &str, body: impl FnOnce(&mut Wire)) {
    match env::var(ROLE).as_deref() {
        Ok("near") => {
            thread::spawn(|| {
                thread::sleep(LIMIT);
                eprintln!("still running after {LIMIT:?}");
                process::exit(3);
            });
            body(&mut Wire::create(test));
        }
        Ok(_) => be_the_far_end(),
        Err(_) => match isolation() {
            // Written directly, because the harness shows captured output only when a test fails.
            Err(reason) => {
                let _ = writeln!(io::stderr(), "{test} skipped: {reason}");
            }
            Ok(isolation) => {
                let output = again(isolation, test, "near").output();
                let output = output.expect("a program that just ran");
                assert!(output.status.success(), "{}", everything(&output));
            }
        },
    }
}

/// The command that gives this user a network namespace, or the reason why there is none.
fn isolation() -> Result<&'static [&'static str], &'static str> {
    static FOUND: OnceLock<Result<&[&str], String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        try_isolation(&["--net"]).or_else(|first| {
            try_isolation(&["--user", "--map-root-user", "--net"])
                .map_err(|second| format!("{first}; without root: {second}"))
        })
    });
    found.as_ref().copied().map_err(String::as_str)
}

fn try_isolation(way: &'static [&'static str]) -> Result<&'static [&'static str], String> {
    let mut trial = Command::new("unshare");
    match trial.args(way).args(["sh", "-c", TRIAL]).output() {
        Ok(output) if output.status.success() => Ok(way),
        Ok(output) => Err(everything(&output)),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// The command that runs this test in another namespace and role.
fn again(isolation: &[&str], test: &str, role: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(isolation)
        .arg(env::current_exe().expect("the path of this test"))
        .args([test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role);
    command
}

fn everything(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{} {}", text(&output.stdout), text(&output.stderr))
        .trim()
        .to_owned()
}

#[track_caller]
fn run(words: &str) {
    let mut words = words.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{}", everything(&output));
}

/// Changes a setting of this process's namespace.
#[track_caller]
pub(crate) fn set(name: &str, value: u32) {
    fs::write(format!("/proc/sys/net/ipv4/{name}"), value.to_string())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

impl Wire {
    fn create(test: &str) -> Self {
        let mut far = again(&["--net"], test, "far")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a far end");
        let mut wire = Self {
            orders: far.stdin.take(),
            words: BufReader::new(far.stdout.take().expect("a pipe")),
            far,
        };
        wire.expect("here");
        let far = wire.far.id();
        run(&format!(
            "ip link add near type veth peer name far netns {far}"
        ));
        run("ip link set lo up");
        run(&format!("ip address add {NEAR} dev near"));
        run("ip link set near up");
        wire.far("ip link set lo up");
        wire.far(&format!("ip address add {FAR} dev far"));
        wire.far("ip link set far up");
        wire.order("listen");
        wire
    }

    /// The address of the bridge.
    pub(crate) fn bridge(&self) -> SocketAddr {
        SocketAddr::from(BRIDGE)
    }

    /// Runs a command at this end.
    #[track_caller]
    pub(crate) fn near(&self, words: &str) {
        run(words);
    }

    /// Runs a command at the other end.
    #[track_caller]
    pub(crate) fn far(&self, words: &str) {
        let far = self.far.id();
        run(&format!("nsenter --net=/proc/{far}/ns/net {words}"));
    }

    /// Sets the fate of packets to the bridge from now on, as the end of an iptables rule.
    #[track_caller]
    pub(crate) fn packets(&self, fate: &str) {
        self.far(&format!(
            "iptables -w -A INPUT -p tcp --dport 10001 -j {fate}"
        ));
    }

    /// Drops all packets from now on, in both directions and including those under way.
    #[track_caller]
    pub(crate) fn cut(&self) {
        self.far("iptables -w -A INPUT -j DROP");
        self.far("iptables -w -A OUTPUT -j DROP");
    }

    /// Lets all packets pass again.
    #[track_caller]
    pub(crate) fn restore(&self) {
        self.far("iptables -w -F");
    }

    /// Makes the bridge reset its clients. The resets follow the packet rules.
    pub(crate) fn reset_clients(&mut self) {
        self.order("reset");
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("a pipe that is open");
        writeln!(orders, "{order}").expect("a far end that listens");
        self.expect("done");
    }

    fn expect(&mut self, word: &str) {
        let expected = format!("{PREFIX}{word}");
        let mut line = String::new();
        while !line.contains(&expected) {
            line.clear();
            let length = self.words.read_line(&mut line).expect("a far end");
            assert!(length > 0, "the far end ended before it said {word:?}");
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The far end stops when its input closes.
        self.orders = None;
        let _ = self.far.wait();
    }
}

fn be_the_far_end() {
    println!("{PREFIX}here");
    // Every refusal is answered, and not the first few only.
    set("icmp_ratelimit", 0);
    let mut bridge = None;
    for order in io::stdin().lines() {
        match order.expect("a near end").as_str() {
            "listen" => {
                let builder = Emulator::builder().broadcast(false);
                bridge = Some(builder.bind(BRIDGE.into()).start().expect("its address"));
            }
            "reset" => {
                let bridge: &Emulator = bridge.as_ref().expect("a bridge");
                bridge.close_all_clients(Ending::Rst);
            }
            other => panic!("unknown order {other:?}"),
        }
        println!("{PREFIX}done");
    }
}

//! A wire between two network namespaces, with a bridge at its far end.
//!
//! A test runs itself again in a namespace of its own (the near end), and from there once more in
//! another (the far end), with a pair of virtual interfaces between the two. The namespaces have no
//! names: they are gone with the processes in them, however those end, and nothing outside of them is
//! touched.

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

/// Tells a process which end it is.
const ROLE: &str = "CONPOOL_TEST_WIRE";
/// What the far end says begins like this; the test harness says other things.
const WORD: &str = "wire: ";
/// These addresses are for documentation, so nobody misses them.
const NEAR: &str = "192.0.2.1/24";
const FAR: &str = "192.0.2.2/24";
const BRIDGE: ([u8; 4], u16) = ([192, 0, 2, 2], 10001);
/// A near end that takes longer is stuck.
const LIMIT: Duration = secs(30);
/// What has to work, and in a namespace of its own can do no harm.
const TRIAL: &str = "ip link add near type veth peer name far \
     && iptables -w -A INPUT -p tcp -j DROP \
     && iptables -w -A INPUT -p tcp -j REJECT --reject-with tcp-reset \
     && echo 0 > /proc/sys/net/ipv4/icmp_ratelimit \
     && nsenter --net=/proc/self/ns/net true";

/// The wire, as its near end sees it.
pub(crate) struct Wire {
    far: Child,
    orders: Option<ChildStdin>,
    words: BufReader<ChildStdout>,
}

/// Runs `body` at the near end of a wire, in a process of its own. `test` is the name of the test
/// that calls this. Where there can be no namespaces it prints why, and that is all.
#[track_caller]
pub(crate) fn at_the_near_end(test: &str, body: impl FnOnce(&mut Wire)) {
    match env::var(ROLE).as_deref() {
        Ok("near") => {
            thread::spawn(|| {
                thread::sleep(LIMIT);
                eprintln!("still running after {LIMIT:?}");
                process::exit(3);
            });
            body(&mut Wire::lay(test));
        }
        Ok(_) => be_the_far_end(),
        Err(_) => match isolation() {
            // Past the harness, which shows what a test prints only when it fails.
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

/// How this user gets a network namespace, or why not at all.
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

/// This test, in another namespace and another role.
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

/// Changes a setting of the namespace that this process is in.
#[track_caller]
pub(crate) fn set(name: &str, value: u32) {
    fs::write(format!("/proc/sys/net/ipv4/{name}"), value.to_string())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

impl Wire {
    fn lay(test: &str) -> Self {
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
        wire.hear("here");
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

    /// Where the bridge listens.
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

    /// What happens to packets for the bridge from now on, as the end of an iptables rule.
    #[track_caller]
    pub(crate) fn packets(&self, fate: &str) {
        self.far(&format!(
            "iptables -w -A INPUT -p tcp --dport 10001 -j {fate}"
        ));
    }

    /// From now on nothing passes, either way and not even an answer that is under way.
    #[track_caller]
    pub(crate) fn cut(&self) {
        self.far("iptables -w -A INPUT -j DROP");
        self.far("iptables -w -A OUTPUT -j DROP");
    }

    /// Everything passes again.
    #[track_caller]
    pub(crate) fn mend(&self) {
        self.far("iptables -w -F");
    }

    /// Lets the bridge reset its clients. The resets go out like all other packets, or not.
    pub(crate) fn reset_clients(&mut self) {
        self.order("reset");
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("a pipe that is open");
        writeln!(orders, "{order}").expect("a far end that listens");
        self.hear("done");
    }

    fn hear(&mut self, word: &str) {
        let expected = format!("{WORD}{word}");
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
        // It ends when it hears no more.
        self.orders = None;
        let _ = self.far.wait();
    }
}

fn be_the_far_end() {
    println!("{WORD}here");
    // Every refusal is answered, not the first few only.
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
        println!("{WORD}done");
    }
}

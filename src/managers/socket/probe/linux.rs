//! The probe by `poll`, which detects the peer's end behind unread bytes, and consumes neither bytes nor the
//! pending error.

use std::{ffi::c_int, io, mem::MaybeUninit};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionread},
};
use socket2::Socket;

use super::{Look, drain_with};

/// The flag of `recv` that never waits, whatever the mode of the socket. The value is part of the kernel's
/// interface and equal on every architecture.
const MSG_DONTWAIT: c_int = 0x40;

/// Suppresses SIGPIPE, which would end a program that does not ignore the signal. A library in a C program
/// cannot rely on Rust's runtime to ignore it.
const MSG_NOSIGNAL: c_int = 0x4000;

/// Returns the state of `socket`. Always counts all unread bytes.
pub(super) fn look(socket: &Socket, _limit: usize) -> io::Result<Look> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut question = [PollFd::new(socket, PollFlags::IN | PollFlags::RDHUP)];
    while let Err(error) = poll(&mut question, Some(&now)) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let seen = question[0].revents();
    if seen.contains(PollFlags::ERR) {
        // The error stays in the socket: fetching it would clear it and change the result of the next probe.
        Ok(Look::Reset)
    } else if seen.contains(PollFlags::HUP) {
        Ok(Look::HungUp)
    } else if seen.contains(PollFlags::RDHUP) {
        Ok(Look::Closed)
    } else if seen.contains(PollFlags::IN) {
        let bytes = ioctl_fionread(socket)?;
        Ok(Look::Unread(usize::try_from(bytes).unwrap_or(usize::MAX)))
    } else {
        Ok(Look::Quiet)
    }
}

/// Discards the unread bytes.
pub(super) fn drain(socket: &Socket, limit: usize) -> io::Result<Look> {
    let mut scratch = [MaybeUninit::uninit(); 4096];
    drain_with(limit, || socket.recv_with_flags(&mut scratch, MSG_DONTWAIT))
}

/// Sends no bytes. Fails if nothing can be sent any more.
pub(super) fn write_nothing(socket: &Socket) -> io::Result<()> {
    socket.send_with_flags(&[], MSG_NOSIGNAL).map(drop)
}

//! Sockets that share an address: duplicates of open ones, and the program by which the kernel chooses among them.
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use napi::bindgen_prelude::*;
use socket2::{Socket, Type};

use crate::error::{Code, error, fail};

/// Words per instruction in the program that JavaScript gives: `code << 16 | jt << 8 | jf`, then `k`.
const INSTRUCTION_WORDS: usize = 2;
/// Of the kernel: BPF_MAXINSNS.
const INSTRUCTIONS_MAX: usize = 4096;

/// A second descriptor of a UDP socket that is open in this process; closing one does not close the other.
pub fn duplicate(descriptor: RawFd) -> Result<Socket, Code> {
    // SAFETY: the kernel checks the number; the new descriptor belongs to nobody else.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        let problem = std::io::Error::last_os_error();
        return fail("ERR_SOCKET", format!("descriptor {descriptor} cannot be duplicated: {problem}"));
    }
    // SAFETY: `copy` is open and ours.
    let socket = unsafe { Socket::from_raw_fd(copy) };
    let is_bound = socket.local_addr().is_ok_and(|address| address.as_socket().is_some_and(|local| local.port() != 0));
    if socket.r#type().ok() != Some(Type::DGRAM) || !is_bound {
        return fail("ERR_SOCKET", format!("descriptor {descriptor} is not a bound UDP socket of this process"));
    }
    Ok(socket)
}

/// Lets several sockets of one user have the same address.
pub fn share_address(socket: &Socket) -> Result<(), Code> {
    socket.set_reuse_port(true).map_err(|problem| {
        error("ERR_REUSEPORT", format!("this system has no SO_REUSEPORT for UDP ({problem}); use one worker"))
    })
}

/// Gives the group of sockets that `socket` belongs to a classic BPF program. Returns 0 or the errno of the refusal.
#[cfg(target_os = "linux")]
pub fn attach(socket: &Socket, program: &[i32]) -> Result<i32, Code> {
    if program.is_empty()
        || !program.len().is_multiple_of(INSTRUCTION_WORDS)
        || program.len() / INSTRUCTION_WORDS > INSTRUCTIONS_MAX
    {
        return fail(
            "ERR_RANGE",
            format!("a steering program has two words for each of at most {INSTRUCTIONS_MAX} instructions"),
        );
    }
    let mut instructions: Vec<libc::sock_filter> = program
        .chunks_exact(INSTRUCTION_WORDS)
        .map(|words| libc::sock_filter {
            code: (words[0] as u32 >> 16) as u16,
            jt: (words[0] >> 8) as u8,
            jf: words[0] as u8,
            k: words[1] as u32,
        })
        .collect();
    let filter = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel copies the program, which lives until the call returns, and refuses one that is not sound.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            size,
        )
    };
    Ok(if status == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL) })
}

/// Only Linux steers by program.
#[cfg(not(target_os = "linux"))]
pub fn attach(_socket: &Socket, _program: &[i32]) -> Result<i32, Code> {
    Ok(libc::ENOPROTOOPT)
}

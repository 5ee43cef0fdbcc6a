//! Sockets and chance: waiting for several sockets with a deadline, random connection IDs.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::Outcome;

const SOCKET_BUFFER_BYTES: libc::c_int = 4 << 20;

pub fn bind(ip: IpAddr, port: u16) -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, port))?;
    socket.set_nonblocking(true)?;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: a valid descriptor and an integer that lives through the call. Smaller buffers only lose more packets.
        unsafe {
            let value: *const libc::c_int = &SOCKET_BUFFER_BYTES;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), size_of::<libc::c_int>() as u32);
        }
    }
    Ok(socket)
}

/// Waits until a socket is readable or the time is over.
pub fn wait(sockets: &[UdpSocket], timeout: Option<Duration>) -> Outcome<()> {
    let mut descriptors: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // Rounded up, so that a deadline is past when the wait is over.
    let milliseconds = timeout.map_or(1_000, |timeout| timeout.as_millis().min(1_000) as libc::c_int + 1);
    // SAFETY: the array is valid for its length through the call.
    let result = unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, milliseconds) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The next datagram of a socket, or nothing when none waits.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Outcome<Option<(usize, SocketAddr)>> {
    match socket.recv_from(buffer) {
        Ok(received) => Ok(Some(received)),
        // A peer that is gone answers with ICMP; timers of the connection decide what that means.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends everything that the connection has to say now.
pub fn flush(connection: &mut quiche::Connection, sockets: &[UdpSocket]) -> Outcome<()> {
    let mut out = [0; crate::DATAGRAM_BYTES];
    loop {
        let (length, info) = match connection.send(&mut out) {
            Ok(sent) => sent,
            Err(quiche::Error::Done) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let socket = sockets.iter().find(|socket| socket.local_addr().is_ok_and(|local| local == info.from));
        match socket.unwrap_or(&sockets[0]).send_to(&out[..length], info.to) {
            // A full queue drops the datagram, as a network does.
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub fn random_id() -> Outcome<quiche::ConnectionId<'static>> {
    let mut bytes = vec![0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

/// Gives the peer as many connection IDs as it takes, for later paths; returns the new ones.
pub fn offer_ids(connection: &mut quiche::Connection) -> Outcome<Vec<quiche::ConnectionId<'static>>> {
    let mut offered = Vec::new();
    while connection.scids_left() > 0 {
        let id = random_id()?;
        let mut token = [0; 16];
        token.copy_from_slice(&random_id()?);
        connection.new_scid(&id, u128::from_be_bytes(token), false)?;
        offered.push(id);
    }
    Ok(offered)
}

//! Socket addresses as words of an `Int32Array`, in both directions.
//!
//! Layout, 16 words: 0 remote family (4 or 6), 1 remote port, 2 to 5 remote address, 6 remote scope ID, 7 local family
//! (0 = unknown), 8 to 11 local address, 12 interface index, 13 to 15 unused. Addresses are big-endian words; an IPv4
//! address takes the first.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

pub const ADDRESS_WORDS: usize = 16;

pub fn write_remote(words: &mut [i32], remote: SocketAddr) {
    write_ip(&mut words[2..6], remote.ip());
    words[0] = family(remote.ip());
    words[1] = i32::from(remote.port());
    words[6] = match remote {
        SocketAddr::V6(remote) => remote.scope_id() as i32,
        SocketAddr::V4(_) => 0,
    };
}

pub fn write_local(words: &mut [i32], local: Option<IpAddr>, interface: Option<u32>) {
    words[7] = local.map_or(0, family);
    write_ip(&mut words[8..12], local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    words[12] = interface.unwrap_or(0) as i32;
}

pub fn read_remote(words: &[i32]) -> Option<SocketAddr> {
    let port = u16::try_from(*words.get(1)?).ok()?;
    Some(match read_ip(words[0], words.get(2..6)?)? {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), port),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, *words.get(6)? as u32).into(),
    })
}

/// The address to send from; `None` leaves the choice to the kernel.
pub fn read_local(words: &[i32]) -> Option<IpAddr> {
    read_ip(*words.get(7)?, words.get(8..12)?)
}

fn family(ip: IpAddr) -> i32 {
    if ip.is_ipv4() { 4 } else { 6 }
}

fn write_ip(words: &mut [i32], ip: IpAddr) {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = i32::from_be_bytes(bytes.try_into().expect("chunks of 4"));
    }
}

fn read_ip(family: i32, words: &[i32]) -> Option<IpAddr> {
    match family {
        4 => Some(Ipv4Addr::from_bits(words[0] as u32).into()),
        6 => {
            let mut bytes = [0; 16];
            for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

//! A journal: a socket that stands in for journald's, and its entries as journald reads
//! them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::support::close;

/// An entry: each field's name and value, in the order in which they came.
#[derive(Debug)]
pub struct Entry(Vec<(String, Vec<u8>)>);

impl Entry {
    /// The one value of a field; "" without the field.
    #[track_caller]
    pub fn get(&self, name: &str) -> String {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.clone());
        assert!(values.next().is_none(), "{name} came twice: {self:?}");
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }
}

/// A journal whose entries nobody else reads.
pub struct Journal(UnixDatagram);

impl Journal {
    /// Listens at `path`, in a folder that is made.
    pub fn listen(path: PathBuf) -> Journal {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let socket = UnixDatagram::bind(&path).expect("a journal's socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Journal(socket)
    }

    /// Closes it, and leaves its name where it is.
    pub fn close(self) {
        close(self.0);
    }

    /// The entries that came since the last call.
    pub fn entries(&self) -> Vec<Entry> {
        let mut packet = vec![0; 256 * 1024];
        std::iter::from_fn(|| {
            let length = self.0.recv(&mut packet).ok()?;
            assert!(length <= 48 * 1024, "{length} bytes");
            Some(read(&packet[..length]))
        })
        .collect()
    }
}

/// An entry in the native form: `NAME=value` lines, and values with their length before.
fn read(mut packet: &[u8]) -> Entry {
    let mut fields = Vec::new();
    while !packet.is_empty() {
        let end = packet.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = packet.split_at(end);
        let line = String::from_utf8(line.to_vec()).unwrap();
        if let Some((name, value)) = line.split_once('=') {
            fields.push((name.to_owned(), value.as_bytes().to_vec()));
            packet = &rest[1..];
            continue;
        }
        let (length, rest) = rest[1..].split_first_chunk().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        fields.push((line, rest[..length].to_vec()));
        packet = rest[length..].strip_prefix(b"\n").unwrap();
    }
    Entry(fields)
}

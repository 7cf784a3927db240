//! sshd's configuration as it would be, in a folder of its own, so that `sshd
//! -t` and `sshd -T` judge it before a login can meet it: an sshd that is
//! started for each connection reads its files at each one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::mkdtemp;

use super::Sshd;
use super::place::Place;
use crate::check::sshd::lines::{included, includes, words};
use crate::outcome::Failure;

/// It goes with this value.
pub struct Candidate {
    folder: PathBuf,
    /// The file to give to sshd.
    pub path: PathBuf,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Candidate {
    /// The configuration with `lines` as ours.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn of(sshd: &Sshd, place: &Place, lines: &[u8]) -> Result<Candidate, Failure> {
        let failed = |error: io::Error| Failure::refused(format!("no room for a trial: {error}"));
        let template = match Path::new("/run").is_dir() {
            true => "/run/duoctl.XXXXXX",
            false => "/tmp/duoctl.XXXXXX",
        };
        let folder = mkdtemp(template).map_err(|errno| failed(errno.into()))?;
        let candidate = Candidate {
            path: folder.join("sshd_config"),
            folder,
        };
        let main = match place {
            Place::Block(_) | Place::PamBlock(_) => {
                place.file_with(Some(lines))?.unwrap_or_default()
            }
            Place::OwnFile(path) => {
                let own = candidate.folder.join(path.file_name().unwrap_or_default());
                fs::write(&own, lines).map_err(failed)?;
                let text = fs::read(&sshd.config).map_err(failed)?;
                with_file(&text, path, &own)
            }
        };
        fs::write(&candidate.path, main).map_err(failed)?;
        Ok(candidate)
    }
}

/// The configuration `text` in which whatever includes `path` includes `own` in
/// its place.
fn with_file(text: &[u8], path: &Path, own: &Path) -> Vec<u8> {
    let mut result = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let words = words(&String::from_utf8_lossy(line));
        let is_include = words
            .first()
            .is_some_and(|word| word.eq_ignore_ascii_case("include"));
        if is_include && words.iter().skip(1).any(|pattern| includes(pattern, path)) {
            let files = words
                .iter()
                .skip(1)
                .flat_map(|pattern| files(pattern, path, own));
            let quoted: Vec<String> = files.map(|file| format!("\"{file}\"")).collect();
            result.extend_from_slice(format!("Include {}\n", quoted.join(" ")).as_bytes());
        } else {
            result.extend_from_slice(line);
        }
    }
    result
}

/// What this pattern includes once `path` is there, in sshd's order.
fn files(pattern: &str, path: &Path, own: &Path) -> Vec<String> {
    if !includes(pattern, path) {
        return vec![pattern.to_owned()];
    }
    let mut files = included(pattern);
    files.retain(|file| file != path);
    files.push(path.to_owned());
    files.sort();
    let place = |file: &PathBuf| match file == path {
        true => own.display().to_string(),
        false => file.display().to_string(),
    };
    files.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_file_stands_where_it_will() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["00-a.conf", "00-login_duo.conf", "50-b.conf", "c.off"] {
            fs::write(at(name), "").unwrap();
        }
        let all = folder.path().display();
        let text = format!("Port 22\ninclude /x {all}/*.conf\nMatch all\n");
        let own = Path::new("/run/own");
        let made = with_file(text.as_bytes(), &at("00-login_duo.conf"), own);
        assert_eq!(
            String::from_utf8(made).unwrap(),
            format!(
                "Port 22\nInclude \"/x\" \"{all}/00-a.conf\" \"/run/own\" \"{all}/50-b.conf\"\nMatch all\n"
            )
        );
    }
}

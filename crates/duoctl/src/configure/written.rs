//! Which files of /etc/duo duoctl has made, one path a line, so that whoever purges the
//! package takes these away, and none that was there before or that somebody else wrote.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use duo_system::{configuration, system_words};

use super::place::behind_links;
use crate::outcome::Report;
use crate::ssh::replace::replace;
use crate::state;

/// Notes files that were just made. One elsewhere is its administrator's own business.
/// The files are in place already, so that a failure is a warning.
pub fn record<'a>(files: impl Iterator<Item = &'a Path>, report: &mut Report) {
    let folder = behind_links(Path::new(configuration::FOLDER));
    let is_plain = |name: &&str| !name.contains('\n');
    let names: Vec<&str> = files
        .filter(|file| file.parent() == Some(&folder))
        .filter_map(|file| file.to_str().filter(is_plain))
        .collect();
    let record = state::file("written");
    if let Err(error) = note(&record, &names) {
        let (record, why) = (record.display(), system_words(&error));
        report.warn(format!(
            "{record} cannot be written ({why}): a purge of the package will leave {}",
            names.join(", ")
        ));
    }
}

fn note(record: &Path, names: &[&str]) -> io::Result<()> {
    let known = match fs::read_to_string(record) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        read => read.unwrap_or_default(),
    };
    let mut all: BTreeSet<&str> = known.lines().collect();
    let before = all.len();
    all.extend(names);
    if all.len() == before {
        return Ok(());
    }
    state::make_folder(record.parent().unwrap_or(Path::new("/")))?;
    let text: String = all.iter().map(|name| format!("{name}\n")).collect();
    replace(record, Some(text.as_bytes()))?.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn each_file_is_noted_once_and_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("new/written");
        note(&record, &[]).unwrap();
        assert!(!record.exists());
        note(&record, &["/etc/duo/b"]).unwrap();
        note(&record, &["/etc/duo/a", "/etc/duo/b"]).unwrap();
        let text = fs::read_to_string(&record).unwrap();
        assert_eq!(text, "/etc/duo/a\n/etc/duo/b\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(
            (mode(&record), mode(record.parent().unwrap())),
            (0o600, 0o700)
        );
    }
}

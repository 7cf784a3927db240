//! The module and its helper: where they are, whose they are, and whether the
//! module can be loaded. PAM has no dry run; a module that is missing, or that
//! cannot be loaded, locks everybody out.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::check::sshd::run::run;
use crate::finding::{Finding, quoted};
use crate::layout::{HELPER, MODULE, MODULE_COMES_FROM, module_beside};

/// More than the module has, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// For the loader.
const PATIENCE: Duration = Duration::from_secs(10);

/// The module of this duoctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What a PAM file calls it: its name alone where PAM looks for it, else its path.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Finds it. In PAM's own folder there may be Duo's module, which has the same
/// name and belongs to a package; then ours is beside its program.
///
/// # Errors
/// There is none of ours.
pub fn find() -> Result<Module, String> {
    let folder = folder();
    let usual = folder.as_ref().map(|folder| folder.join(MODULE));
    if let Some(path) = usual.clone().filter(|path| is_ours(path)) {
        let name = MODULE.to_owned();
        return Ok(Module { name, path });
    }
    let beside = module_beside();
    if is_ours(&beside) {
        let name = beside.display().to_string();
        return Ok(Module { name, path: beside });
    }
    let places: Vec<String> = usual
        .iter()
        .chain([&beside])
        .map(|path| path.display().to_string())
        .collect();
    Err(format!(
        "there is no {MODULE} of this duoctl ({}): install it first",
        places.join(", ")
    ))
}

/// The folder in which PAM looks for modules: that of pam_unix.so.
pub fn folder() -> Option<PathBuf> {
    let mut found = Vec::new();
    for lib in ["/usr/lib64", "/usr/lib", "/lib64", "/lib"].map(Path::new) {
        found.push(lib.join("security"));
        let below = fs::read_dir(lib).into_iter().flatten().flatten();
        found.extend(below.map(|entry| entry.path().join("security")));
    }
    found.retain(|folder| folder.join("pam_unix.so").is_file());
    // Of several architectures, this program's.
    let own = format!("/{}-", std::env::consts::ARCH);
    let is_own = |folder: &&PathBuf| folder.to_string_lossy().contains(&own);
    found.iter().find(is_own).or(found.first()).cloned()
}

/// Whether a module is of this project: it names the helper.
pub fn is_ours(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    let helper = HELPER.as_bytes();
    read.is_ok() && bytes.windows(helper.len()).any(|window| window == helper)
}

/// What speaks against them.
pub fn findings(module: &Module) -> Vec<Finding> {
    const MODULE_ID: &str = "pam.module";
    let mut findings = vec![
        trusted(MODULE_ID, &module.path),
        trusted("pam.helper", Path::new(HELPER)),
    ];
    findings.push(match load(&module.path) {
        Ok(()) => Finding::ok(
            "pam.loads",
            format!("{} can be loaded", module.path.display()),
        ),
        Err(why) => {
            let text = format!("{} cannot be loaded: {why}", module.path.display());
            Finding::fail("pam.loads", text).mend(format!(
                "{MODULE_COMES_FROM}, from a build for this machine"
            ))
        }
    });
    findings
}

/// Root runs both: nobody else may be able to change them.
fn trusted(id: &'static str, path: &Path) -> Finding {
    let shown = path.display();
    let whole = match path.canonicalize() {
        Ok(whole) if whole.is_file() => whole,
        Ok(_) => return Finding::fail(id, format!("{shown} is no file")),
        Err(error) => {
            let why = duo_system::system_words(&error);
            return Finding::fail(id, format!("{shown}: {why}")).mend(MODULE_COMES_FROM);
        }
    };
    for part in whole.ancestors() {
        let Ok(status) = fs::metadata(part) else {
            continue;
        };
        let sticky = status.is_dir() && status.mode() & 0o1000 != 0;
        if status.uid() != 0 || (status.mode() & 0o022 != 0 && !sticky) {
            let (mode, uid) = (status.mode() & 0o7777, status.uid());
            let text = format!(
                "{} belongs to user id {uid} and has mode {mode:04o}: somebody else than root \
                 can replace {shown}",
                part.display()
            );
            let mend = format!("chown root:root {0} && chmod go-w {0}", quoted(part));
            return Finding::fail(id, text).mend(mend);
        }
    }
    Finding::ok(id, format!("{shown} is root's"))
}

/// Has the loader take the module into a program that does nothing, with every
/// symbol resolved at once: what dlopen does with `RTLD_NOW`, in another process.
fn load(path: &Path) -> Result<(), String> {
    let name = path.to_string_lossy();
    if name.contains([' ', ':']) {
        return Err("the loader cannot take such a path".to_owned());
    }
    let program = ["/usr/bin/true", "/bin/true"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .ok_or("there is no 'true'")?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LD_PRELOAD", format!("libpam.so.0 {name}"))
        .env("LD_BIND_NOW", "1");
    let (good, _, errors) = run(&mut command, Instant::now() + PATIENCE)
        .map_err(|error| duo_system::system_words(&error))?;
    match (good, errors.lines().find(|line| !line.is_empty())) {
        (true, None) => Ok(()),
        (_, Some(line)) => Err(line.to_owned()),
        (false, None) => Err("the loader says nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_loaded_and_what_is_none_is_not() {
        if let Some(folder) = folder() {
            assert_eq!(load(&folder.join("pam_unix.so")), Ok(()));
        }
        assert!(load(Path::new("/none.so")).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(load(file.path()).is_err());
    }
}

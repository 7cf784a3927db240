//! The accounts and groups of a machine, as its /etc/passwd and /etc/group.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Named after what the service does with them.
const PEOPLE: [&str; 9] = [
    "push", "manual", "pushdeny", "allow", "deny", "enroll", "escapes", "phone", "slowpush",
];

/// Who is on a machine.
#[derive(Clone)]
pub struct Accounts {
    pub passwd: Vec<String>,
    pub group: Vec<String>,
}

impl Accounts {
    /// Root, the two users that login_duo knows, and people; with user ids that
    /// nobody else has, since limits count by them.
    pub fn people() -> Accounts {
        static MACHINES: AtomicU32 = AtomicU32::new(0);
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let first = 100_000_000 + number * 40;
        let mut passwd = vec![
            "root:*:0:0:root:/srv/home/root:/bin/bash".to_owned(),
            format!("duo:*:{first}:{first}::/nonexistent:/usr/sbin/nologin"),
            format!("sshd:*:{0}:{0}::/run/sshd:/usr/sbin/nologin", first + 1),
        ];
        let mut group = vec![
            "root:x:0:".to_owned(),
            "tty:x:5:".to_owned(),
            format!("duo:x:{first}:"),
            format!("sshd:x:{}:", first + 1),
            format!("staff:x:{}:push,manual", first + 30),
            format!("night-shift:x:{}:push", first + 31),
        ];
        for (id, name) in (first + 2..).zip(PEOPLE) {
            passwd.push(format!(
                "{name}:*:{id}:{id}:{name}:/srv/home/{name}:/bin/bash"
            ));
            group.push(format!("{name}:x:{id}:"));
        }
        Accounts { passwd, group }
    }

    /// Of these two files.
    pub fn of(passwd: &str, group: &str) -> Accounts {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Accounts {
            passwd: lines(passwd),
            group: lines(group),
        }
    }

    /// The user and the group id of an account.
    pub fn ids(&self, name: &str) -> (u32, u32) {
        let mut entries = self.passwd.iter().map(|line| line.split(':'));
        let entry = entries.find(|entry| entry.clone().next() == Some(name));
        let mut fields = entry.expect(name).skip(2).map(|id| id.parse().unwrap());
        (fields.next().unwrap(), fields.next().unwrap())
    }

    /// Writes the files into `folder`, with an nsswitch.conf that says so.
    pub fn write(&self, folder: &Path) {
        let switch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n";
        fs::write(folder.join("passwd"), self.passwd.join("\n") + "\n").unwrap();
        fs::write(folder.join("group"), self.group.join("\n") + "\n").unwrap();
        fs::write(folder.join("nsswitch.conf"), switch).unwrap();
    }

    /// Each account that has a home here: where, and whose.
    pub fn homes(&self) -> Vec<(&str, u32, u32)> {
        let fields = self.passwd.iter().map(|line| line.split(':'));
        fields
            .filter_map(|mut fields| {
                let name = fields.next()?;
                let home = fields.nth(4)?.starts_with("/srv/home/");
                let (uid, gid) = self.ids(name);
                home.then_some((name, uid, gid))
            })
            .collect()
    }
}

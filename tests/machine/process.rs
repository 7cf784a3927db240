//! What the kernel tells of a process.

use std::fs;

/// A field of `/proc/PID/status`, with one blank between its words.
pub fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A field of `/proc/PID/stat` by its number in proc(5), from the third, the
/// state, on; empty if there is no such process.
pub fn stat(pid: i32, number: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Before it stands the program's name, in which anything may be.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = fields.split_whitespace().nth(number - 3);
    field.unwrap_or_default().to_owned()
}

/// How many clock ticks it has run.
pub fn ticks(pid: i32) -> u64 {
    [14, 15]
        .map(|time| stat(pid, time).parse::<u64>().unwrap())
        .iter()
        .sum()
}

/// The children of its first thread, zombies too.
pub fn children(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children
        .unwrap_or_default()
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect()
}

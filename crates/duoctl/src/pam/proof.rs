//! What can come of a stack, whatever its modules say: every way through it is
//! tried, and each one that lets somebody in must have a first factor and Duo's
//! yes. `groups` and failmode are no cases of their own here: they are a yes of
//! the module, and a yes alone must open nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Control, Value};
use super::stack::{Does, Impression, Step, Way};
use crate::layout::MODULES;

/// The argument by which the module itself wants sshd's word for a key.
pub const AFTER_KEY: &str = "after=publickey";

/// The module that says yes to root.
pub const ROOT_OK: &str = "pam_rootok.so";

/// Modules that prove who somebody is. One that is not here counts for nothing,
/// so that a stack of unknown modules is refused and not trusted.
const FIRST_FACTORS: [&str; 27] = [
    "pam_unix.so",
    "pam_unix2.so",
    "pam_pwdfile.so",
    "pam_userdb.so",
    "pam_sss.so",
    "pam_sss_gss.so",
    "pam_ldap.so",
    "pam_krb5.so",
    "pam_winbind.so",
    "pam_systemd_home.so",
    "pam_radius.so",
    "pam_radius_auth.so",
    "pam_tacplus.so",
    "pam_lsass.so",
    "pam_vas3.so",
    "pam_centrifydc.so",
    "pam_aad.so",
    "pam_himmelblau.so",
    "pam_pkcs11.so",
    "pam_p11.so",
    "pam_u2f.so",
    "pam_yubico.so",
    "pam_fprintd.so",
    "pam_google_authenticator.so",
    "pam_oath.so",
    "pam_ssh_agent_auth.so",
    "pam_ecryptfs_password.so",
];

/// Whether a step asks Duo.
pub fn is_duo(step: &Step) -> bool {
    MODULES.contains(&step.module())
}

/// Whether a step asks for a first factor.
pub fn is_first_factor(step: &Step) -> bool {
    FIRST_FACTORS.contains(&step.module())
}

/// What is wrong with a stack.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The steps by which somebody gets in whom Duo did not let in.
    pub ways_around: BTreeSet<usize>,
    /// Somebody gets in with Duo's yes alone.
    pub is_only_factor: bool,
    /// Duo is asked though the first factor has failed, or before it.
    pub asks_early: bool,
    /// Nobody gets in by Duo's yes.
    pub lets_nobody_in: bool,
}

/// One way to a step, and what has been on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Journey {
    way: Way,
    /// Somebody has given a first factor.
    has_first: bool,
    /// Duo has said yes.
    has_duo: bool,
    /// The step that went past Duo, or asked Duo and did not heed the answer.
    past_duo: Option<usize>,
}

/// Tries every way through a stack. Ways that come to the same step in the same
/// state go on as one, so that a stack of many lines has not too many of them.
pub fn judge(stack: &[Step]) -> Judgement {
    let mut judgement = Judgement {
        lets_nobody_in: true,
        ..Judgement::default()
    };
    let values: Vec<Vec<Value>> = stack.iter().map(values).collect();
    let start = Journey {
        way: Way::new(),
        has_first: false,
        has_duo: false,
        past_duo: None,
    };
    explore(start, |mut journey, found| {
        let Some((at, step)) = next(&mut journey.way, stack) else {
            conclude(&journey, &mut judgement);
            return;
        };
        if is_duo(step) {
            let is_late = journey.has_first || step.has_argument(AFTER_KEY);
            judgement.asks_early |= !is_late || journey.way.impression() == Impression::Negative;
        }
        for value in values.get(at).into_iter().flatten() {
            found.push(journey.after(stack, (at, step), *value));
        }
    });
    judgement
}

fn next<'a>(way: &mut Way, stack: &'a [Step]) -> Option<(usize, &'a Step)> {
    let at = way.next(stack)?;
    Some((at, stack.get(at)?))
}

impl Journey {
    fn after(&self, stack: &[Step], (at, step): (usize, &Step), value: Value) -> Journey {
        let mut journey = self.clone();
        let left_out = journey.way.take(stack, value);
        let is_yes = value == Value::SUCCESS;
        journey.has_duo |= is_yes && is_duo(step);
        let by_sshd = is_duo(step) && step.has_argument(AFTER_KEY);
        journey.has_first |= is_yes && (is_first_factor(step) || by_sshd);
        let mut skipped = stack.get(left_out).unwrap_or_default().iter();
        if is_duo(step) || skipped.any(is_duo) {
            journey.past_duo.get_or_insert(at);
        }
        journey
    }
}

fn conclude(journey: &Journey, judgement: &mut Judgement) {
    if !journey.way.succeeds() {
        return;
    }
    match (journey.has_duo, journey.has_first) {
        (true, true) => judgement.lets_nobody_in = false,
        (true, false) => judgement.is_only_factor = true,
        (false, _) => judgement.ways_around.extend(journey.past_duo),
    }
}

/// Visits each state once; `visit` pushes those that follow from one.
fn explore<T: Clone + Ord>(start: T, mut visit: impl FnMut(T, &mut Vec<T>)) {
    let mut known: BTreeSet<T> = BTreeSet::new();
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        if known.insert(state.clone()) {
            visit(state, &mut open);
        }
    }
}

/// What has changed for people between two stacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Somebody gets in who did not.
    pub lets_in: bool,
    /// Somebody does not get in, with Duo's yes, who did.
    pub locks_out: bool,
}

/// Two stacks on their way with the same answers of the same modules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Both {
    old: Way,
    new: Way,
    /// Duo has not said no.
    is_duo_content: bool,
}

/// Compares a stack with what it was. Both have the same steps in the same order,
/// but for ours, and neither goes back: so they are gone through side by side, and
/// a step that both ask answers both.
pub fn compare(before: &[Step], after: &[Step]) -> Comparison {
    let names_after = names(after);
    // Where each step of the old stack is in the new one.
    let same: Vec<Option<usize>> = names(before)
        .iter()
        .map(|name| names_after.iter().position(|other| other == name))
        .collect();
    let mut comparison = Comparison::default();
    let start = Both {
        old: Way::new(),
        new: Way::new(),
        is_duo_content: true,
    };
    explore(start, |mut both, found| {
        let old = next(&mut both.old, before);
        let new = next(&mut both.new, after);
        let place = old.map(|(at, _)| same.get(at).copied().flatten());
        let (ask_old, ask_new) = match (place, new) {
            (None, None) => {
                let (was, is) = (both.old.succeeds(), both.new.succeeds());
                comparison.lets_in |= is && !was;
                comparison.locks_out |= was && !is && both.is_duo_content;
                return;
            }
            (None, Some(_)) => (false, true),
            // A step that the new stack has not, or has behind it.
            (Some(None), _) | (Some(_), None) => (true, false),
            (Some(Some(place)), Some((at, _))) => (place <= at, at <= place),
        };
        let step = if ask_new { new } else { old };
        let Some((_, step)) = step else { return };
        for value in values(step) {
            let mut both = both.clone();
            if ask_old {
                both.old.take(before, value);
            }
            if ask_new {
                both.new.take(after, value);
                both.is_duo_content &= !is_duo(step) || value == Value::SUCCESS;
            }
            found.push(both);
        }
    });
    comparison
}

/// By this a step is the same in two stacks: what it says, and how often that
/// stood before.
fn names(stack: &[Step]) -> Vec<(String, usize)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let name = |step: &Step| {
        let text = format!("{:?} {:?}", step.does, step.control);
        let count = seen.entry(text.clone()).or_default();
        *count += 1;
        (text, *count)
    };
    stack.iter().map(name).collect()
}

/// What a module may say, as far as the stack can tell it apart.
fn values(step: &Step) -> Vec<Value> {
    match (step.module(), &step.does) {
        ("pam_permit.so", _) => vec![Value::SUCCESS],
        ("pam_deny.so", _) => vec![Value::AUTH_ERR],
        (module, _) if MODULES.contains(&module) => step.control.distinct(Value::OF_DUO),
        (_, Does::Ask { .. }) => step.control.values(),
        _ => Control::BROKEN.values(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack::{steps, tests::Made};
    use super::*;

    const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so nullok\n\
        auth requisite pam_deny.so\nauth required pam_permit.so\nauth optional pam_cap.so\n";
    const FEDORA: &str = "auth required pam_env.so\nauth required pam_faildelay.so delay=2000000\n\
        auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
        auth [default=1 ignore=ignore success=ok] pam_localuser.so\n\
        auth sufficient pam_unix.so nullok\n\
        auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
        auth sufficient pam_sss.so forward_pass\nauth required pam_deny.so\n";

    fn stack(main: &str) -> Vec<Step> {
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let files = [("main", leak(main)), ("debian", COMMON), ("fedora", FEDORA)];
        steps(&Made(files.into_iter().collect()), "main")
    }

    fn judged(main: &str) -> Judgement {
        judge(&stack(main))
    }

    fn good() -> Judgement {
        Judgement::default()
    }

    #[test]
    fn debians_and_fedoras_stacks_with_a_line_behind_are_safe() {
        assert_eq!(judged("@include debian\nauth required pam_duo.so"), good());
        let early = Judgement {
            asks_early: true,
            ..good()
        };
        assert_eq!(
            judged("auth substack fedora\nauth required pam_duo.so"),
            early
        );
        assert_eq!(judged("auth required pam_duo.so after=publickey"), good());
    }

    #[test]
    fn what_goes_around_duo_is_found() {
        let around = |main: &str| {
            let stack = stack(main);
            let blamed = judge(&stack).ways_around.into_iter();
            blamed
                .map(|at| stack[at].module().to_owned())
                .collect::<Vec<_>>()
        };
        for (main, by) in [
            (
                "auth include fedora\nauth required pam_duo.so",
                vec!["pam_unix.so", "pam_sss.so"],
            ),
            (
                "auth sufficient pam_rootok.so\n@include debian\nauth required pam_duo.so",
                vec!["pam_rootok.so"],
            ),
            (
                "auth sufficient pam_wheel.so trust\n@include debian\nauth required pam_duo.so",
                vec!["pam_wheel.so"],
            ),
            (
                "auth [success=2 default=ignore] pam_succeed_if.so x\n@include debian\nauth required pam_duo.so",
                vec![],
            ),
            (
                "@include debian\nauth [success=1 default=ignore] pam_succeed_if.so x\nauth required pam_duo.so",
                vec!["pam_succeed_if.so"],
            ),
            (
                "@include debian\nauth optional pam_duo.so",
                vec!["pam_duo.so"],
            ),
            (
                "@include debian\nauth sufficient pam_duo.so",
                vec!["pam_duo.so"],
            ),
        ] {
            assert_eq!(around(main), by, "{main}");
        }
    }

    #[test]
    fn duo_alone_is_no_stack() {
        for main in [
            "auth required pam_duo.so",
            "auth sufficient pam_duo.so\nauth required pam_deny.so",
            "auth optional pam_unix.so\nauth required pam_duo.so",
            "auth [success=2 default=ignore] pam_succeed_if.so x\n@include debian\nauth required pam_duo.so",
            // The line in the middle of common-auth: a jump counts it.
            "auth [success=1 default=ignore] pam_unix.so\nauth required pam_duo.so\n\
             auth requisite pam_deny.so\nauth required pam_permit.so",
        ] {
            let found = judged(main);
            let is_bad =
                found.is_only_factor || found.lets_nobody_in || !found.ways_around.is_empty();
            assert!(is_bad, "{main}: {found:?}");
        }
        assert!(judged("auth required pam_duo.so").is_only_factor);
        assert!(
            judged("@include debian\nauth required pam_deny.so\nauth required pam_duo.so")
                .lets_nobody_in
        );
    }

    #[test]
    fn a_stack_is_compared_with_what_it_was() {
        let of = |before: &str, after: &str| {
            let found = compare(&stack(before), &stack(after));
            (found.lets_in, found.locks_out)
        };
        for (before, after, expected) in [
            (
                "@include debian",
                "@include debian\nauth required pam_duo.so",
                (false, false),
            ),
            (
                "auth include fedora",
                "auth substack fedora\nauth required pam_duo.so",
                (false, false),
            ),
            // The line behind was not reached: now it may fail.
            (
                "auth include fedora\nauth required pam_x.so",
                "auth substack fedora\nauth required pam_duo.so\nauth required pam_x.so",
                (false, true),
            ),
            ("@include debian", "auth required pam_duo.so", (true, false)),
            (
                "@include debian",
                "auth sufficient pam_duo.so\n@include debian",
                (true, false),
            ),
        ] {
            assert_eq!(of(before, after), expected, "{after}");
        }
    }

    /// Two to the power of forty, if each way were gone alone.
    #[test]
    fn a_stack_of_many_lines_is_judged() {
        let many = "auth optional pam_x.so\n".repeat(20);
        let before = format!("{many}@include debian\n{many}");
        let after = format!("{before}auth required pam_duo.so\n");
        assert_eq!(judged(&after), good());
        assert_eq!(
            compare(&stack(&before), &stack(&after)),
            Comparison::default()
        );
    }
}

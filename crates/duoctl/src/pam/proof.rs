//! What can come of a stack, whatever its modules say: every way through it is
//! tried, and each one that lets somebody in must have a first factor and Duo's
//! yes. `groups` and failmode are no cases of their own here: they are a yes of
//! the module, and a yes alone must open nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Control, Value};
use super::stack::{Does, Impression, Run, Step, run};

/// More ways than any stack in use has.
const MOST_RUNS: usize = 300_000;

/// The name of the module, ours and Duo's own.
pub const MODULE: &str = "pam_duo.so";

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
    step.module() == MODULE
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

/// There are too many ways to try all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// Tries every way through a stack.
pub fn judge(stack: &[Step]) -> Result<Judgement, TooMany> {
    let mut judgement = Judgement {
        lets_nobody_in: true,
        ..Judgement::default()
    };
    let values = values_of(stack);
    let mut choices = Choices::default();
    loop {
        let run = run(stack, |at, _| choices.of(&values, at));
        look_at(&run, stack, &mut judgement);
        if !choices.advance()? {
            return Ok(judgement);
        }
    }
}

fn look_at(run: &Run, stack: &[Step], judgement: &mut Judgement) {
    let mut has_first = false;
    let mut has_duo = false;
    for asked in &run.asked {
        let Some(step) = stack.get(asked.step) else {
            continue;
        };
        let is_yes = asked.value == Value::SUCCESS;
        if is_duo(step) {
            let by_sshd = step.has_argument(AFTER_KEY);
            let is_late = by_sshd || has_first;
            judgement.asks_early |= !is_late || asked.before == Impression::Negative;
            has_duo |= is_yes;
            has_first |= by_sshd && is_yes;
        }
        has_first |= is_yes && is_first_factor(step);
    }
    if !run.succeeds {
        return;
    }
    match (has_duo, has_first) {
        (true, true) => judgement.lets_nobody_in = false,
        (true, false) => judgement.is_only_factor = true,
        (false, _) => judgement.ways_around.extend(to_blame(run, stack)),
    }
}

/// The step that went past Duo; where Duo was asked and said no, the line that
/// let that pass.
fn to_blame(run: &Run, stack: &[Step]) -> Option<usize> {
    let has_duo = |range: &std::ops::Range<usize>| {
        let steps = stack.get(range.clone()).unwrap_or_default();
        steps.iter().any(is_duo)
    };
    let past = run.left_out.iter().find(|(_, range)| has_duo(range));
    let asked = || {
        let mut asked = run.asked.iter().map(|asked| asked.step);
        asked.find(|at| stack.get(*at).is_some_and(is_duo))
    };
    let last = || run.asked.last().map(|asked| asked.step);
    past.map(|(at, _)| *at).or_else(asked).or_else(last)
}

/// What has changed for people between two stacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Somebody gets in who did not.
    pub lets_in: bool,
    /// Somebody does not get in, with Duo's yes, who did.
    pub locks_out: bool,
}

/// Compares a stack with what it was, with the same answers of the same modules.
pub fn compare(before: &[Step], after: &[Step]) -> Result<Comparison, TooMany> {
    let names_after = names(after);
    // Where each step of the old stack is in the new one.
    let same: Vec<Option<usize>> = names(before)
        .iter()
        .map(|name| names_after.iter().position(|other| other == name))
        .collect();
    let (values_before, values_after) = (values_of(before), values_of(after));
    let mut comparison = Comparison::default();
    let mut choices = Choices::default();
    loop {
        let mut said: Vec<Option<Value>> = vec![None; after.len()];
        let mut duo = true;
        let new = run(after, |at, step| {
            let value = choices.of(&values_after, at);
            duo &= !is_duo(step) || value == Value::SUCCESS;
            if let Some(place) = said.get_mut(at) {
                *place = Some(value);
            }
            value
        });
        let old = run(before, |at, _| {
            let there = same.get(at).copied().flatten();
            let known = there.and_then(|there| said.get(there).copied().flatten());
            known.unwrap_or_else(|| choices.of(&values_before, at))
        });
        comparison.lets_in |= new.succeeds && !old.succeeds;
        comparison.locks_out |= duo && old.succeeds && !new.succeeds;
        if !choices.advance()? {
            return Ok(comparison);
        }
    }
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

/// Goes through all answers, like the wheels of a counter.
#[derive(Default)]
struct Choices {
    /// What was chosen, of how many.
    wheels: Vec<(usize, usize)>,
    at: usize,
    runs: usize,
}

impl Choices {
    fn of(&mut self, values: &[Vec<Value>], step: usize) -> Value {
        let values = values.get(step).map(Vec::as_slice).unwrap_or_default();
        if self.wheels.len() == self.at {
            self.wheels.push((0, values.len()));
        }
        let chosen = self.wheels.get(self.at).map_or(0, |(chosen, _)| *chosen);
        self.at += 1;
        values.get(chosen).copied().unwrap_or(Value::AUTH_ERR)
    }

    /// Turns to the next answers; false after the last ones.
    fn advance(&mut self) -> Result<bool, TooMany> {
        self.wheels.truncate(self.at);
        self.at = 0;
        self.runs += 1;
        if self.runs > MOST_RUNS {
            return Err(TooMany);
        }
        while let Some((chosen, of)) = self.wheels.pop() {
            if chosen + 1 < of {
                self.wheels.push((chosen + 1, of));
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn values_of(stack: &[Step]) -> Vec<Vec<Value>> {
    stack.iter().map(values).collect()
}

/// What a module may say, as far as the stack can tell it apart.
fn values(step: &Step) -> Vec<Value> {
    match (step.module(), &step.does) {
        ("pam_permit.so", _) => vec![Value::SUCCESS],
        ("pam_deny.so", _) => vec![Value::AUTH_ERR],
        (MODULE, _) => step.control.distinct(Value::OF_DUO),
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
        judge(&stack(main)).unwrap()
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
            let blamed = judge(&stack).unwrap().ways_around.into_iter();
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
            let found = compare(&stack(before), &stack(after)).unwrap();
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

    #[test]
    fn a_stack_of_too_many_ways_is_not_judged() {
        let many = "auth optional pam_x.so\n".repeat(30);
        assert_eq!(judge(&stack(&many)), Err(TooMany));
    }
}

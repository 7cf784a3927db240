//! The auth stack of a service, with everything that it includes, and what
//! comes of it: Linux-PAM's own rules (pam.conf(5)) over lines of text. Nothing
//! here looks at a machine; files come from whoever calls.

use std::ops::Range;

use super::control::{Action, Control, Value};
use super::file::{Facility, Says, base_name, lines};

/// Files within files.
const DEEPEST: usize = 16;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// A module is asked.
    Ask {
        /// Its name or path.
        module: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A substack begins behind it.
    Enter,
    /// It always fails.
    Fail,
}

/// One line of the whole stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many substacks are around it.
    pub level: usize,
    /// What it does.
    pub does: Does,
    /// What comes of it.
    pub control: Control,
    /// The file and the number of its line.
    pub place: (String, usize),
    /// The number of the line of the service's own file that brought it here.
    pub own_line: usize,
}

impl Step {
    /// The module that is asked, without its folder.
    pub fn module(&self) -> &str {
        match &self.does {
            Does::Ask { module, .. } => base_name(module),
            Does::Enter | Does::Fail => "",
        }
    }

    /// Whether that module was given this argument.
    pub fn has_argument(&self, word: &str) -> bool {
        match &self.does {
            Does::Ask { arguments, .. } => arguments.iter().any(|it| it == word),
            Does::Enter | Does::Fail => false,
        }
    }

    /// For people.
    pub fn shown(&self) -> String {
        let (file, number) = &self.place;
        match self.module() {
            "" => format!("{file}:{number}"),
            module => format!("{module} ({file}:{number})"),
        }
    }
}

/// The files of PAM, by name: where a name is and what is in it.
pub trait Files {
    /// The path and the bytes of the file that an include, or a service, names.
    fn read(&self, name: &str) -> Option<(String, Vec<u8>)>;
}

/// The steps of the service `name`; what is missing always fails, as in Linux-PAM.
pub fn steps(files: &impl Files, name: &str) -> Vec<Step> {
    let mut found = Vec::new();
    add(files, name, 0, (None, 0), &mut found);
    found
}

fn add(
    files: &impl Files,
    name: &str,
    level: usize,
    (own, depth): (Option<usize>, usize),
    found: &mut Vec<Step>,
) -> bool {
    let Some((path, bytes)) = files.read(name).filter(|_| depth < DEEPEST) else {
        return false;
    };
    for line in lines(&bytes) {
        if line.facility == Facility::Other {
            continue;
        }
        let own_line = own.unwrap_or(line.number);
        let step = |does, control| Step {
            level,
            does,
            control,
            place: (path.clone(), line.number),
            own_line,
        };
        let below = (Some(own_line), depth + 1);
        let is_there = match &line.says {
            Says::Module {
                control,
                module,
                arguments,
            } => {
                let does = Does::Ask {
                    module: module.clone(),
                    arguments: arguments.clone(),
                };
                found.push(step(does, control.clone()));
                true
            }
            Says::Include(name) | Says::Everything(name) => add(files, name, level, below, found),
            Says::Substack(name) => {
                found.push(step(Does::Enter, Control::BROKEN));
                add(files, name, level + 1, below, found)
            }
            Says::Broken => false,
        };
        if !is_there {
            found.push(step(Does::Fail, Control::BROKEN));
        }
    }
    true
}

/// What the modules before have made of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impression {
    /// Nothing yet.
    Undefined,
    /// It would succeed.
    Positive,
    /// It fails, whatever comes.
    Negative,
}

/// What has been made of the stack so far, or of what is around a substack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    impression: Impression,
    /// Whether `PAM_SUCCESS` would be told.
    is_success: bool,
}

/// A stack on its way, as `_pam_dispatch_aux` of Linux-PAM goes through it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    at: usize,
    level: usize,
    state: State,
    /// What was before each substack that is around the step.
    entered: Vec<State>,
}

impl Way {
    /// At the beginning.
    pub fn new() -> Way {
        let state = State {
            impression: Impression::Undefined,
            is_success: false,
        };
        Way {
            at: 0,
            level: 0,
            state,
            entered: vec![state],
        }
    }

    /// The step that is asked next; none at the end.
    pub fn next(&mut self, stack: &[Step]) -> Option<usize> {
        loop {
            let step = stack.get(self.at)?;
            if self.level < step.level {
                self.entered.truncate(step.level);
                self.entered.resize(step.level + 1, self.state);
            }
            self.level = step.level;
            if step.does != Does::Enter {
                return Some(self.at);
            }
            self.at += 1;
        }
    }

    /// What the modules before have made of the stack.
    pub fn impression(&self) -> Impression {
        self.state.impression
    }

    /// Whether the application hears `PAM_SUCCESS`, at the end.
    pub fn succeeds(&self) -> bool {
        self.state.impression == Impression::Positive && self.state.is_success
    }

    /// Takes the answer of the step that was asked; returns the steps that are left
    /// out because of it.
    pub fn take(&mut self, stack: &[Step], value: Value) -> Range<usize> {
        let next = self.at + 1;
        let end = end_of(stack, next, self.level);
        let control = stack.get(self.at).map(|step| &step.control);
        let action = control.map_or(Action::Bad, |control| control.action(value));
        self.at = match action {
            Action::Ignore => next,
            Action::Reset => {
                self.state = self.entered.get(self.level).copied().unwrap_or(self.state);
                next
            }
            Action::Ok => {
                self.counts(value);
                next
            }
            Action::Done => {
                let is_over = self.state.impression != Impression::Negative;
                self.counts(value);
                if is_over { end } else { next }
            }
            Action::Bad => {
                self.fails();
                next
            }
            Action::Die => {
                self.fails();
                end
            }
            Action::Jump(lines) => behind(stack, next, self.level, lines).unwrap_or_else(|| {
                // Linux-PAM's "bad jump in stack": nothing is left to jump over.
                self.fails();
                end
            }),
        };
        next..self.at
    }

    /// What counts first stays, unless it was a success.
    fn counts(&mut self, value: Value) {
        let is_good = self.state.impression == Impression::Positive && self.state.is_success;
        if self.state.impression == Impression::Undefined || is_good {
            self.state = State {
                impression: Impression::Positive,
                is_success: value == Value::SUCCESS,
            };
        }
    }

    fn fails(&mut self) {
        self.state = State {
            impression: Impression::Negative,
            is_success: false,
        };
    }
}

/// Where the steps of this level, and of those within, come to an end.
fn end_of(stack: &[Step], from: usize, level: usize) -> usize {
    let rest = stack.get(from..).unwrap_or_default();
    let inside = rest.iter().take_while(|step| step.level >= level);
    from + inside.count()
}

/// The step behind so many others; a substack counts as one.
fn behind(stack: &[Step], from: usize, level: usize, lines: u8) -> Option<usize> {
    let mut at = from;
    for _ in 0..lines {
        stack.get(at).filter(|step| step.level >= level)?;
        at += 1;
        while stack.get(at).is_some_and(|step| step.level > level) {
            at += 1;
        }
    }
    Some(at)
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files of a test.
    pub struct Made(pub BTreeMap<&'static str, &'static str>);

    impl Files for Made {
        fn read(&self, name: &str) -> Option<(String, Vec<u8>)> {
            let text = self.0.get(name)?;
            Some((name.to_owned(), text.as_bytes().to_vec()))
        }
    }

    /// Goes one way through a stack; whether it succeeds, and the steps that were asked.
    fn run(stack: &[Step], say: impl Fn(&Step) -> Value) -> (bool, Vec<usize>) {
        let (mut way, mut asked) = (Way::new(), Vec::new());
        while let Some(at) = way.next(stack) {
            asked.push(at);
            let value = match stack[at].does {
                Does::Fail => Value::AUTH_ERR,
                _ => say(&stack[at]),
            };
            way.take(stack, value);
        }
        (way.succeeds(), asked)
    }

    /// What comes of a stack in which `good` succeed, and the modules that were asked.
    fn of(files: &[(&'static str, &'static str)], good: &[&str]) -> (bool, String) {
        let made = Made(files.iter().copied().collect());
        let stack = steps(&made, "main");
        let (succeeds, asked) = run(&stack, |step| match good.contains(&step.module()) {
            true => Value::SUCCESS,
            false => Value::AUTH_ERR,
        });
        let names: Vec<&str> = asked.iter().map(|at| stack[*at].module()).collect();
        (succeeds, names.join(" "))
    }

    #[test]
    fn the_simple_words() {
        let main = |text| [("main", text)];
        let two = "auth required a\nauth required b";
        assert_eq!(of(&main(two), &["a", "b"]), (true, "a b".into()));
        assert_eq!(of(&main(two), &["b"]), (false, "a b".into()));
        let requisite = "auth requisite a\nauth required b";
        assert_eq!(of(&main(requisite), &["b"]), (false, "a".into()));
        let sufficient = "auth sufficient a\nauth required b";
        assert_eq!(of(&main(sufficient), &["a"]), (true, "a".into()));
        assert_eq!(of(&main(sufficient), &["b"]), (true, "a b".into()));
        // What failed before is not made good.
        let late = "auth required a\nauth sufficient b\nauth required c";
        assert_eq!(of(&main(late), &["b", "c"]), (false, "a b c".into()));
        // Nobody said yes.
        assert_eq!(of(&main("auth optional a"), &[]), (false, "a".into()));
        assert_eq!(of(&main(""), &[]), (false, String::new()));
        assert_eq!(
            of(&main("auth required a\nauth odd b"), &["a"]),
            (false, "a ".into())
        );
    }

    #[test]
    fn jumps_count_lines_and_a_substack_is_one() {
        let debian = [
            ("main", "@include c\nauth required duo"),
            (
                "c",
                "auth [success=1 default=ignore] unix\nauth requisite deny\nauth required permit",
            ),
        ];
        assert_eq!(
            of(&debian, &["unix", "permit", "duo"]),
            (true, "unix permit duo".into())
        );
        assert_eq!(of(&debian, &["permit", "duo"]), (false, "unix deny".into()));
        let over = [
            (
                "main",
                "auth [success=1 default=bad] a\nauth substack s\nauth required b",
            ),
            ("s", "auth required x\nauth required y"),
        ];
        assert_eq!(of(&over, &["a", "b"]), (true, "a b".into()));
        let too_far = [(
            "main",
            "auth required p\nauth [success=2 default=bad] a\nauth required b",
        )];
        assert_eq!(of(&too_far, &["p", "a", "b"]), (false, "p a".into()));
        // A jump does not leave its substack.
        let inside = [
            ("main", "auth substack s\nauth required b"),
            ("s", "auth required p\nauth [success=1 default=bad] a"),
        ];
        assert_eq!(of(&inside, &["p", "a", "b"]), (false, "p a b".into()));
    }

    #[test]
    fn an_include_ends_the_stack_and_a_substack_itself() {
        let of = |how: &'static str, good: &[&str]| {
            let main: &'static str = match how {
                "include" => "auth include s\nauth required b",
                _ => "auth substack s\nauth required b",
            };
            of(
                &[
                    ("main", main),
                    ("s", "auth sufficient a\nauth requisite deny"),
                ],
                good,
            )
        };
        assert_eq!(of("include", &["a"]), (true, "a".into()));
        assert_eq!(of("substack", &["a"]), (false, "a b".into()));
        assert_eq!(of("substack", &["a", "b"]), (true, "a b".into()));
        assert_eq!(of("include", &["b"]), (false, "a deny".into()));
        // What died within counts outside, where the lines go on.
        assert_eq!(of("substack", &["b"]), (false, "a deny b".into()));
    }

    #[test]
    fn reset_takes_back_what_a_substack_did() {
        let files = [
            ("main", "auth required p\nauth substack s\nauth required b"),
            ("s", "auth required a\nauth [default=reset] r"),
        ];
        assert_eq!(of(&files, &["p", "b"]), (true, "p a r b".into()));
    }

    #[test]
    fn a_missing_file_fails() {
        let files = [("main", "auth required a\nauth include none")];
        assert_eq!(of(&files, &["a"]), (false, "a ".into()));
        let endless = [("main", "auth required a\nauth include main")];
        assert!(!of(&endless, &["a"]).0);
    }

    /// A service of PAM, its includes beside it, made by chance but the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % sides
        }

        fn of(&mut self, words: &[&'static str]) -> &'static str {
            words[self.roll(words.len())]
        }

        fn control(&mut self) -> String {
            const WORDS: [&str; 8] = [
                "required",
                "requisite",
                "sufficient",
                "optional",
                "required",
                "sufficient",
                "[default=bad success=ok]",
                "[success=done default=die ignore=ignore]",
            ];
            const ACTIONS: [&str; 9] =
                ["ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3"];
            match self.roll(3) {
                0 => {
                    let [good, bad, none] = [(); 3].map(|()| self.of(&ACTIONS));
                    format!("[success={good} ignore={none} default={bad}]")
                }
                _ => self.of(&WORDS).to_owned(),
            }
        }

        fn file(&mut self, deeper: &[&str]) -> String {
            let mut text = String::new();
            for _ in 0..=self.roll(5) {
                let what = self.roll(8);
                text += &match (what, deeper) {
                    (0, [name, ..]) => format!("auth include {name}\n"),
                    (1 | 2, [name, ..]) => format!("auth substack {name}\n"),
                    (3, [_, name]) => format!("auth substack {name}\n"),
                    _ => {
                        let control = self.control();
                        let says =
                            self.of(&["success", "success", "auth_err", "ignore", "user_unknown"]);
                        format!("auth {control} pam_debug.so auth={says}\n")
                    }
                };
            }
            text
        }
    }

    /// Linux-PAM itself, in a mount namespace of its own, says the same of stacks
    /// made by chance.
    #[test]
    fn linux_pam_itself_says_the_same() {
        const STACKS: usize = 400;
        let folder = tempfile::tempdir().unwrap();
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let mut expected = String::new();
        for number in 0..STACKS {
            let names = [
                format!("a{number}"),
                format!("b{number}"),
                format!("c{number}"),
            ];
            let texts = [
                dice.file(&[&names[1], &names[2]]),
                dice.file(&[&names[2]]),
                dice.file(&[]),
            ];
            for (name, text) in names.iter().zip(&texts) {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let made = Written(names.iter().cloned().zip(texts).collect());
            let (succeeds, _) = run(&steps(&made, &names[0]), said);
            expected += &format!("{number} {}\n", u8::from(!succeeds));
        }
        let script = format!(
            "mount --bind {} /etc/pam.d || exit 77; n=0; while [ $n -lt {STACKS} ]; do\n\
             pamtester a$n root authenticate >/dev/null 2>&1; echo $n $(($? != 0)); n=$((n+1)); done",
            folder.path().display()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", &script]);
        let is_there = |program: &str| std::path::Path::new("/usr/bin").join(program).exists();
        let found = (is_there("pamtester") && is_there("unshare"))
            .then(|| command.output().unwrap())
            .filter(|output| output.status.success());
        let Some(found) = found else {
            let required = std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required");
            assert!(!required, "needs root, unshare and pamtester");
            return;
        };
        let found = String::from_utf8(found.stdout).unwrap();
        let differs = found
            .lines()
            .zip(expected.lines())
            .find(|(one, other)| one != other);
        if let Some((one, _)) = differs {
            let number = one.split(' ').next().unwrap();
            let file = |letter: &str| {
                let path = folder.path().join(format!("{letter}{number}"));
                std::fs::read_to_string(path).unwrap()
            };
            panic!(
                "PAM says {one}:\n{}\nb:\n{}\nc:\n{}",
                file("a"),
                file("b"),
                file("c")
            );
        }
        assert_eq!(found.lines().count(), STACKS);
        assert!(
            found.matches(" 0\n").count() > STACKS / 10,
            "hardly one succeeds"
        );
    }

    struct Written(BTreeMap<String, String>);

    impl Files for Written {
        fn read(&self, name: &str) -> Option<(String, Vec<u8>)> {
            let text = self.0.get(name)?;
            Some((name.to_owned(), text.as_bytes().to_vec()))
        }
    }

    /// What pam_debug was told to say.
    fn said(step: &Step) -> Value {
        for (word, value) in [
            ("auth=success", Value::SUCCESS),
            ("auth=ignore", Value::IGNORE),
            ("auth=user_unknown", Value::OF_DUO[4]),
        ] {
            if step.has_argument(word) {
                return value;
            }
        }
        Value::AUTH_ERR
    }
}

//! A filter of system calls, seccomp(2): from a table of calls to the program that the
//! kernel runs at each call. The program is built here and not by `seccompiler`, which
//! gives a filter two answers and not three, and does not look for calls of the x32 ABI,
//! where each forbidden call has a second number. `seccompiler` hands it to the kernel.

use std::io;

use duo_policy::error::Error;
use nix::libc;
use nix::unistd::Pid;
use seccompiler::{apply_filter, sock_filter};

use super::calls::NEWEST;
use crate::system_words;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The call is made.
    Allow,
    /// SIGSYS kills the whole process, and the kernel's audit log says so.
    Kill,
    /// The call fails with this error number.
    Fail(i32),
}

/// How a call is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Whatever its arguments are.
    Always(Answer),
    /// Allowed if the first argument is the id of the one process that the filter knows,
    /// else killed.
    ForProcess,
    /// By the lower half of an argument: the kernel reads no more of the arguments that
    /// the tables name.
    ByArgument {
        /// Which argument, from 0.
        argument: u32,
        /// The bits of it that count.
        mask: u32,
        /// The values that make it `then`.
        values: &'static [u32],
        then: &'static Rule,
        otherwise: &'static Rule,
    },
}

/// Whether this process has a filter now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It has.
    Yes,
    /// The kernel, or the container, has no filters, or this program has none for the
    /// processor.
    Unavailable,
}

/// The processors whose numbers of calls the tables have, as the kernel calls them
/// (linux/audit.h).
pub(super) const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else {
    None
};

/// Where the calls of the x32 ABI begin, which x86_64 has beside its own.
const X32: u32 = 0x4000_0000;

/// A filter before the kernel has it. Numbers of calls ascend in each of its tables.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    /// Calls with rules of their own.
    pub special: &'a [(u16, Rule)],
    /// Calls that are all answered alike.
    pub plain: &'a [u16],
    /// How.
    pub answer: Answer,
    /// The answer to a call that no table has.
    pub otherwise: Answer,
    /// The process of [`Rule::ForProcess`].
    pub process: Pid,
}

impl Filter<'_> {
    /// Puts this thread, and all that it starts, under the filter.
    ///
    /// # Errors
    /// [`Error::Fault`] if the kernel has filters but refuses this one.
    pub fn apply(self) -> Result<Filtered, Error> {
        let Some(architecture) = ARCHITECTURE else {
            return Ok(Filtered::Unavailable);
        };
        let error = match apply_filter(&self.program(architecture)) {
            Ok(()) => return Ok(Filtered::Yes),
            Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error)) => error,
            Err(_) => io::ErrorKind::InvalidInput.into(),
        };
        match error.raw_os_error() {
            // The caller cannot bring these about: an older kernel, one without filters,
            // or a container whose own filter answers.
            Some(libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::EACCES) => {
                Ok(Filtered::Unavailable)
            }
            _ => Err(Error::fault("filter system calls", system_words(&error))),
        }
    }

    fn program(self, architecture: u32) -> Vec<sock_filter> {
        // Of `struct seccomp_data`, seccomp(2): the number, the architecture.
        let (number, of_architecture) = (0, 4);
        let mut program = vec![
            load(of_architecture),
            jump(libc::BPF_JEQ, architecture, 1, 0),
            give(Answer::Kill),
            load(number),
            jump(libc::BPF_JGE, X32, 0, 1),
            give(Answer::Kill),
            jump(libc::BPF_JGT, NEWEST, 0, 1),
            give(Answer::Fail(libc::ENOSYS)),
        ];
        for (number, rule) in self.special {
            let body = self.body(rule);
            program.push(jump(libc::BPF_JEQ, (*number).into(), 0, length(&body)));
            program.extend(body);
        }
        program.extend(self.search(self.plain));
        program
    }

    /// Finds the call whose number was loaded, by halves: when the filter is applied, the
    /// kernel goes through the program for each call that it has.
    fn search(self, numbers: &[u16]) -> Vec<sock_filter> {
        let (low, high) = numbers.split_at(numbers.len() / 2);
        if let (4.., [middle, ..]) = (numbers.len(), high) {
            let low = self.search(low);
            let mut code = vec![
                jump(libc::BPF_JGE, (*middle).into(), 0, 1),
                statement(libc::BPF_JMP | libc::BPF_JA, length(&low)),
            ];
            code.extend(low);
            code.extend(self.search(high));
            return code;
        }
        let mut code = Vec::new();
        for number in numbers {
            code.push(jump(libc::BPF_JEQ, (*number).into(), 0, 1));
            code.push(give(self.answer));
        }
        code.push(give(self.otherwise));
        code
    }

    /// What answers a call of this rule.
    fn body(self, rule: &Rule) -> Vec<sock_filter> {
        match rule {
            Rule::Always(answer) => vec![give(*answer)],
            Rule::ForProcess => vec![
                load_argument(0),
                jump(libc::BPF_JEQ, self.process.as_raw().cast_unsigned(), 1, 0),
                give(Answer::Kill),
                give(Answer::Allow),
            ],
            Rule::ByArgument {
                argument,
                mask,
                values,
                then,
                otherwise,
            } => {
                let (then, otherwise) = (self.body(then), self.body(otherwise));
                let mut code = vec![
                    load_argument(*argument),
                    statement(libc::BPF_ALU | libc::BPF_AND, *mask),
                ];
                let mut to_then = length(&otherwise) + length(values);
                for value in *values {
                    to_then -= 1;
                    code.push(jump(libc::BPF_JEQ, *value, to_then, 0));
                }
                code.extend(otherwise);
                code.extend(then);
                code
            }
        }
    }
}

fn length<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

/// Each argument has eight bytes, the lower half first.
fn load_argument(argument: u32) -> sock_filter {
    load(16 + 8 * argument)
}
fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn give(answer: Answer) -> sock_filter {
    let value = match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        Answer::Fail(number) => libc::SECCOMP_RET_ERRNO | number.unsigned_abs(),
    };
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn statement(code: u32, k: u32) -> sock_filter {
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Compares with `k`, and leaves out so many instructions. The kernel refuses a program
/// with a jump out of it.
fn jump(comparison: u32, k: u32, if_true: u32, if_false: u32) -> sock_filter {
    let distance = |count| u8::try_from(count).unwrap_or(u8::MAX);
    sock_filter {
        jt: distance(if_true),
        jf: distance(if_false),
        ..statement(libc::BPF_JMP | libc::BPF_K | comparison, k)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the kernel would answer to a call with these arguments.
    pub fn answer(filter: Filter<'_>, number: u32, arguments: &[u32]) -> Answer {
        answer_on(7, filter, number, arguments)
    }

    fn answer_on(architecture: u32, filter: Filter<'_>, number: u32, arguments: &[u32]) -> Answer {
        let program = filter.program(7);
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            // Codes of linux/bpf_common.h, and returned values of linux/seccomp.h.
            let is_true = match (code, k) {
                (0x20, 0) => {
                    held = number;
                    continue;
                }
                (0x20, 4) => {
                    held = architecture;
                    continue;
                }
                (0x20, k) => {
                    let index = usize::try_from((k - 16) / 8).unwrap();
                    held = arguments.get(index).copied().unwrap_or_default();
                    continue;
                }
                (0x54, k) => {
                    held &= k;
                    continue;
                }
                (0x05, k) => {
                    at += usize::try_from(k).unwrap();
                    continue;
                }
                (0x15, k) => held == k,
                (0x25, k) => held > k,
                (0x35, k) => held >= k,
                (0x06, 0x7fff_0000) => return Answer::Allow,
                (0x06, 0x8000_0000) => return Answer::Kill,
                (0x06, k) => return Answer::Fail((k - 0x0005_0000).try_into().unwrap()),
                (code, _) => panic!("{code:#x}"),
            };
            at += usize::from(if is_true { jt } else { jf });
        }
    }

    fn filter<'a>(special: &'a [(u16, Rule)], plain: &'a [u16]) -> Filter<'a> {
        Filter {
            special,
            plain,
            answer: Answer::Kill,
            otherwise: Answer::Allow,
            process: Pid::from_raw(4321),
        }
    }

    #[test]
    fn a_call_is_answered_by_its_number_and_then_by_its_arguments() {
        const ALLOW: Rule = Rule::Always(Answer::Allow);
        const FAIL: Rule = Rule::Always(Answer::Fail(38));
        let special = [
            (
                50,
                Rule::ByArgument {
                    argument: 1,
                    mask: 0xf,
                    values: &[3, 5, 9],
                    then: &ALLOW,
                    otherwise: &FAIL,
                },
            ),
            (60, Rule::ForProcess),
        ];
        for length in 0..40 {
            let plain: Vec<u16> = (0..length).map(|number| 101 + 2 * number).collect();
            let filter = filter(&special, &plain);
            for call in 100..200 {
                let is_plain = plain.iter().any(|number| u32::from(*number) == call);
                let expected = if is_plain {
                    Answer::Kill
                } else {
                    Answer::Allow
                };
                assert_eq!(answer(filter, call, &[]), expected, "{call}");
            }
        }
        let filter = filter(&special, &[]);
        for value in 0..32 {
            let expected = match value % 16 {
                3 | 5 | 9 => Answer::Allow,
                _ => Answer::Fail(38),
            };
            assert_eq!(answer(filter, 50, &[0, value]), expected, "{value}");
        }
        assert_eq!(answer(filter, 60, &[4321]), Answer::Allow);
        assert_eq!(answer(filter, 60, &[1]), Answer::Kill);
    }

    #[test]
    fn calls_of_another_architecture_of_x32_and_of_the_future_are_not_made() {
        let filter = filter(&[], &[]);
        let on = |architecture, number| answer_on(architecture, filter, number, &[]);
        assert_eq!(on(7, NEWEST), Answer::Allow);
        assert_eq!(on(8, 59), Answer::Kill);
        assert_eq!(on(7, X32 + 59), Answer::Kill);
        assert_eq!(on(7, NEWEST + 1), Answer::Fail(38));
    }
}

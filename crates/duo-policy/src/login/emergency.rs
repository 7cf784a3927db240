//! Asking the person for an emergency code, where failmode says so and only there
//! (docs/emergency.md). What a code is worth is [`crate::verdict`]'s to say.

use duo_wire::{Message, Next, Outcome, Verdict};

use super::{AttemptLog, Login};
use crate::codes::{Code, FEW};
use crate::conversation::Conversation;
use crate::verdict::{NoCode, UsedUp};

/// The tries of a login.
const TRIES: u8 = 3;

const QUESTION: &str = "Duo cannot be reached. Emergency code: ";

impl Login<'_> {
    /// Asks for a code until one is used up, at most [`TRIES`] times. `log` gets each wrong
    /// one but the last, which becomes the verdict.
    ///
    /// # Errors
    /// Why none was used up.
    pub(super) fn ask_for_a_code(
        &self,
        person: &dyn Conversation,
        log: &dyn AttemptLog,
    ) -> Result<UsedUp, NoCode> {
        let unasked = |why: &str| Err(NoCode::Unasked(why.to_owned()));
        match self.codes.left() {
            Err(why) => return Err(NoCode::Unasked(why)),
            Ok(0) => return unasked("no emergency code is left"),
            Ok(_) if !person.is_interactive() => {
                return unasked("nobody can be asked for an emergency code");
            }
            Ok(_) => {}
        }
        for number in 1..=TRIES {
            let line = person.ask(QUESTION).map_err(NoCode::Ended)?;
            let why = match Code::typed(&line) {
                None => "not an emergency code, which has 16 letters and digits",
                Some(code) => match self.codes.use_up(&code).map_err(NoCode::Ended)? {
                    Some(used) => {
                        welcome(person, used);
                        return Ok(used);
                    }
                    None => "wrong emergency code",
                },
            };
            self.clock.sleep(self.deadlines.wrong_code);
            if number == TRIES {
                return Err(NoCode::Wrong(why.to_owned()));
            }
            log.failed(&Verdict::new(Outcome::Failed, why))
                .map_err(NoCode::Ended)?;
            person.show(&Message::Denied {
                why: capitalised(why),
                next: Next::Attempt,
            });
        }
        unasked("no emergency code was asked for")
    }
}

/// Tells the person, who is let in, how many codes are left.
fn welcome(person: &dyn Conversation, used: UsedUp) {
    let left = used.left;
    let mut text = format!("Code accepted; it is used up now. Codes left: {left}.");
    if left < FEW {
        text.push_str(" Ask your administrator for new ones.");
    }
    person.show(&Message::Warn(text));
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

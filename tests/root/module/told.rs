//! What a person sees and answers: prompts for what must be read, texts and
//! errors for the rest.

use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, Script, Times};

use crate::machine::{PamWorld, code};

pub fn one_visible_prompt_has_the_menu() {
    let world = PamWorld::new("");
    let asked = world.asks("duo", "push", &["1"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert_eq!(asked.prompts().len(), 1, "{asked:#?}");
    let prompt = asked.prompts()[0];
    assert!(prompt.ends_with("Passcode or option (1-3): "), "{prompt}");
    assert!(asked.all("prompt-off").is_empty() && asked.all("error").is_empty());
    let told = asked.told().join("\n");
    assert!(told.contains("Success. Logging you in..."), "{told}");
    // Each text once, and no escapes or counters.
    let mut once = asked.told();
    once.dedup();
    assert_eq!(once, asked.told());
    assert!(!asked.ended.stdout().contains("\\x1B"), "{asked:#?}");
}

pub fn an_empty_answer_takes_the_default() {
    let world = PamWorld::new("");
    assert_eq!(world.code("push", &[""]), code::SUCCESS);
    let requests = world.sandbox.duo.requests();
    let auth = requests
        .iter()
        .find(|one| one.endpoint() == "auth")
        .unwrap();
    assert_eq!(auth.param("prompt"), Some("push1"));
}

pub fn a_slip_is_asked_again_and_is_no_attempt() {
    let world = PamWorld::new("prompts = 1");
    let asked = world.asks("duo", "push", &["9", "123456"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert_eq!(world.sandbox.duo.asked("auth"), 1);
}

pub fn a_denial_is_an_error_and_says_why() {
    for (user, words) in [("deny", "disabled"), ("enroll", "http")] {
        let world = PamWorld::new("");
        for options in [&[][..], &["-s"]] {
            let words_of = [options, &["duo", user]].concat();
            let asked = world.host(&words_of);
            assert_eq!(asked.code(), code::ABORT, "{asked:#?}");
            let errors = asked.all("error").join("\n");
            assert!(errors.contains(words), "{user} {options:?} {asked:#?}");
        }
    }
}

pub fn each_denied_attempt_says_so_and_shows_the_menu_again() {
    let world = PamWorld::new("");
    let asked = world.asks("duo", "pushdeny", &["1", "1", "1"]);
    assert_eq!(asked.code(), code::MAXTRIES, "{asked:#?}");
    assert_eq!(asked.prompts().len(), 3, "{asked:#?}");
    assert!(asked.all("error").len() >= 3, "{asked:#?}");
    assert_eq!(world.sandbox.duo.asked("auth"), 3);
}

pub fn autopush_asks_nothing_first_and_shows_the_menu_after_a_denial() {
    let world = PamWorld::new("autopush = yes");
    let asked = world.asks("duo", "push", &[]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert!(asked.prompts().is_empty(), "{asked:#?}");
    assert!(!asked.told().is_empty(), "a push was sent unasked");

    let asked = world.asks("duo", "pushdeny", &["123456"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert_eq!(asked.prompts().len(), 1, "{asked:#?}");
}

pub fn without_a_conversation_autopush_sends_one_push() {
    for how in ["absent", "fails"] {
        for (user, expected) in [("push", true), ("pushdeny", false)] {
            let world = PamWorld::new("autopush = yes");
            let asked = world.host(&["-c", how, "duo", user]);
            let succeeded = asked.code() == code::SUCCESS;
            assert_eq!(succeeded, expected, "{how} {asked:#?}");
            assert_eq!(world.sandbox.duo.asked("auth"), 1, "{how} {user}");
        }
    }
}

pub fn without_a_conversation_and_without_autopush_nothing_is_sent() {
    for how in ["absent", "fails", "no-array", "no-text"] {
        let world = PamWorld::new("failmode = safe");
        let asked = world.host(&["-c", how, "duo", "push"]);
        assert_eq!(asked.code(), code::ABORT, "{how} {asked:#?}");
        assert_eq!(world.sandbox.duo.asked("auth"), 0, "{how}");
        let line = world.wait_for_final();
        assert!(line.starts_with("Aborted Duo login for 'push'"), "{line}");
    }
}

/// sshd before 10.3 holds texts back until the next prompt.
pub fn the_code_of_a_verified_push_stands_in_a_prompt() {
    for options in [&[][..], &["-s"]] {
        let builder = FakeDuo::builder().user("push", Script::Verified);
        let world = PamWorld::with(builder, "verified_push = yes");
        let words = [options, &["-a", "1", "-a", "", "duo", "push"]].concat();
        let asked = world.host(&words);
        assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
        let prompts = asked.prompts();
        assert_eq!(prompts.len(), 2, "{asked:#?}");
        assert!(prompts[1].contains("708"), "{prompts:?}");
        assert!(prompts[1].ends_with("then press Enter: "), "{prompts:?}");
    }
}

pub fn where_to_enrol_is_told_once() {
    let world = PamWorld::new("");
    let asked = world.asks("duo", "enroll", &[]);
    let told = asked.told().join("\n");
    assert_eq!(told.matches("http").count(), 1, "{told}");
    assert!(!asked.ended.stdout().contains('\u{2588}'), "no QR code");
}

/// sudo-rs sets it for every command.
pub fn silence_hides_progress_alone() {
    let world = PamWorld::new("");
    let asked = world.host(&["-s", "-a", "1", "duo", "push"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert!(asked.told().is_empty(), "{asked:#?}");
    assert_eq!(asked.prompts().len(), 1);
    let asked = world.host(&["-s", "-a", "1", "-a", "1", "-a", "1", "duo", "pushdeny"]);
    assert_eq!(asked.code(), code::MAXTRIES);
    assert!(!asked.all("error").is_empty(), "{asked:#?}");
    world.configure("autopush = yes");
    let asked = world.host(&["-s", "duo", "push"]);
    assert_eq!(asked.code(), code::SUCCESS);
    assert_eq!(asked.told().len(), 1, "a push was sent unasked: {asked:#?}");
}

pub fn no_text_of_duos_reaches_the_person_raw() {
    let world = PamWorld::new("");
    let asked = world.asks("duo", "escapes", &["1"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    let said = asked.ended.stdout();
    for escape in ["\\x1B", "\\x0D", "\\x7F", "\u{9b}", "\u{202e}", "\\x08"] {
        assert!(!said.contains(escape), "{escape}: {said}");
    }
    world.wait_until_empty();
    for line in world.log() {
        assert!(!line.text.chars().any(char::is_control), "{line:?}");
        assert!(!line.text.contains("'root' from"), "{line:?}");
    }
}

pub fn a_rate_limit_is_told() {
    let world = PamWorld::new("");
    let busy = Fault::RateLimited(RetryAfter::Seconds(1));
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, busy, Times::First(1));
    let asked = world.asks("duo", "push", &["1"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert!(asked.told().len() > 1, "{asked:#?}");
    assert_eq!(world.sandbox.duo.asked("preauth"), 2);
}

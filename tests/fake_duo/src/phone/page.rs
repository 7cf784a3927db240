//! The phone's screens as HTML. One page holds them all, and all say that this is a test double.

use crate::phone::door::Refused;
use crate::phone::person::Enrolment;
use crate::phone::screen::{Card, Kind, Outcome, Passcode, Screen};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How often a browser without JavaScript looks again.
const REFRESH: &str = r#"<noscript><meta http-equiv="refresh" content="3"></noscript>"#;
/// Where looking again would wipe out a code that is being typed.
const LOOK_AGAIN: &str = r#"<noscript><p><a href=".">Look again</a></p></noscript>"#;

/// The page's policy: nothing but its own style and script, no other site, and in nobody's frame (a click there could be a
/// click on Approve).
pub fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The phone.
pub fn phone(screen: &Screen) -> String {
    let is_typing = screen
        .waiting
        .iter()
        .any(|card| card.kind == Kind::VerifiedPush);
    let (head, again) = match is_typing {
        true => ("", LOOK_AGAIN),
        false => (REFRESH, ""),
    };
    let body = format!(
        "<h1 id=\"title\" tabindex=\"-1\">Every user’s phone</h1>\n\
         <p id=\"lost\" role=\"status\" hidden>The service has ended, or cannot be reached: what stands here may be over.</p>\n\
         {again}{}",
        lists(screen)
    );
    page("Phone (test double)", head, &body)
}

/// What changes on the phone's page.
pub fn lists(screen: &Screen) -> String {
    let waiting = each_or(
        &screen.waiting,
        card,
        "Nothing waits. A push or a call shows here at once.",
    );
    let earlier = each_or(&screen.earlier, row, "Nothing yet.");
    let passcodes: String = (0..).zip(&screen.passcodes).map(passcode).collect();
    format!(
        "<section id=\"waiting\" data-list aria-live=\"polite\" aria-label=\"Waiting\">{waiting}</section>\n\
         <section id=\"passcodes\" data-list aria-label=\"Passcodes\">\
         <h2 id=\"h-passcodes\">Passcodes</h2>{passcodes}</section>\n\
         <section id=\"earlier\" data-list aria-label=\"Earlier\"><h2 id=\"h-earlier\">Earlier</h2>{earlier}</section>"
    )
}

fn each_or<T>(items: &[T], draw: impl Fn(&T) -> String, none: &str) -> String {
    match items {
        [] => format!("<p class=\"quiet\" id=\"none\">{none}</p>"),
        items => items.iter().map(draw).collect(),
    }
}

fn title(card: &Card) -> String {
    let what = match card.kind {
        Kind::Push => "Push",
        Kind::VerifiedPush => "Verified push",
        Kind::Call => "Call",
    };
    format!("{what} for <bdi>{}</bdi>", escape(&card.user))
}

fn card(card: &Card) -> String {
    let number = card.number;
    let mut facts = String::new();
    let address = |text: &Option<String>| text.as_deref().map_or("not told".into(), escape);
    for (name, value) in [("Host", &card.host), ("From", &card.address)] {
        facts.push_str(&format!(
            "<dt>{name}</dt><dd><bdi>{}</bdi></dd>",
            address(value)
        ));
    }
    if let Some(server) = &card.server {
        facts.push_str(&format!(
            "<dt>Server</dt><dd><bdi>{}</bdi></dd>",
            escape(server)
        ));
    }
    let command = match &card.command {
        Some(command) => format!("<code><bdi>{}</bdi></code>", escape(command)),
        None => "a shell, or not told".to_owned(),
    };
    facts.push_str(&format!("<dt>Command</dt><dd>{command}</dd>"));
    format!(
        "<article class=\"card\" id=\"card-{number}\" aria-labelledby=\"title-{number}\">\
         <h3 id=\"title-{number}\">{}</h3><dl>{facts}</dl>{}</article>",
        title(card),
        form(card)
    )
}

fn form(card: &Card) -> String {
    let (yes, no) = match card.kind {
        Kind::Call => ("Press a key", "Hang up"),
        Kind::Push | Kind::VerifiedPush => ("Approve", "Deny"),
    };
    let mut code = String::new();
    if card.has_wrong_code {
        code.push_str(
            "<p class=\"wrong\" role=\"alert\">That is not the code that the login shows.</p>",
        );
    }
    if card.kind == Kind::VerifiedPush {
        code.push_str(
            "<label>The code that the login shows\
             <input name=\"code\" inputmode=\"numeric\" autocomplete=\"off\" maxlength=\"6\" required></label>",
        );
    }
    let number = card.number;
    let button = |class: &str, value: &str, text: &str| {
        // A person without the code may still say no.
        let free = if value == "approve" {
            ""
        } else {
            " formnovalidate"
        };
        format!(
            "<button class=\"{class}\" name=\"answer\" value=\"{value}\" aria-describedby=\"title-{number}\"{free}>\
             {text}</button>"
        )
    };
    format!(
        "<form method=\"post\" action=\"answer\"><input type=\"hidden\" name=\"number\" value=\"{number}\">{code}{}{}{}</form>",
        button("yes", "approve", yes),
        button("no", "deny", no),
        button("fraud whole", "fraud", "Report fraud")
    )
}

fn row(card: &Card) -> String {
    let outcome = match card.outcome {
        Some(Outcome::Approved) => "approved",
        Some(Outcome::Denied) => "denied",
        Some(Outcome::Fraud) => "reported as fraud",
        Some(Outcome::TimedOut) => "timed out",
        Some(Outcome::Scripted) | None => "ended by script",
    };
    format!(
        "<p class=\"row\" id=\"row-{}\"><span>{}</span><b>{outcome}</b></p>",
        card.number,
        title(card)
    )
}

fn passcode((number, passcode): (usize, &Passcode)) -> String {
    let whose = match &passcode.user {
        None => "every user".to_owned(),
        Some(user) => format!("<bdi>{}</bdi>, by SMS", escape(user)),
    };
    format!(
        "<p class=\"row\" id=\"passcode-{number}\"><span>{whose}</span><code>{}</code></p>",
        escape(&passcode.code)
    )
}

/// The page behind an enrolment address.
pub fn portal(enrolment: &Enrolment) -> String {
    let user = format!("<bdi>{}</bdi>", escape(&enrolment.user));
    let body = match enrolment.is_done {
        false => format!(
            "<h1>Enrol</h1>\n<div class=\"card\"><p>{user} has no phone yet. Enrol, then log in again.</p>\
             <form method=\"post\"><button class=\"yes whole\">Enrol this phone</button></form></div>"
        ),
        true => format!(
            "<h1>Enrolled</h1>\n<div class=\"card\"><p>{user} has a phone now: log in again.</p></div>"
        ),
    };
    page("Enrol (test double)", "", &body)
}

/// The status of a refusal, and its page.
pub fn refused(why: Refused) -> (u16, String) {
    let (status, text) = match why {
        Refused::Unknown => (
            404,
            "Nothing is here. The address that fake-duo printed has a token in it, and is good until fake-duo ends.",
        ),
        Refused::ForeignHost => (
            403,
            "Open the page by its address, or as localhost; not by another name.",
        ),
        Refused::Method => (405, "Not with this method."),
        Refused::CrossSite => (403, "Only the page itself may answer a login."),
        Refused::Form => (400, "Not a form of this page."),
    };
    (status, notice(text))
}

/// For an answer that came too late.
pub fn too_late() -> String {
    notice("That login no longer waits: it was answered, or timed out. <a href=\".\">Back</a>")
}

fn notice(text: &str) -> String {
    let body = format!("<h1>Phone</h1>\n<p class=\"card\">{text}</p>");
    page("Phone (test double)", "", &body)
}

fn page(title: &str, head: &str, body: &str) -> String {
    PAGE.replace("{{title}}", title)
        .replace("{{head}}", head)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        // Last, since a client's text may look like a place to fill.
        .replace("{{body}}", body)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

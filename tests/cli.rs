//! The command line: what each command prints and does, and the exit code that says how it went.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sessgate::clock::{Clock, SystemClock};
use sessgate::config::settings::Address;
use sessgate::session::OsGenerator;
use sessgate::store::embedded::EmbeddedStore;
use sessgate::store::{CreateLimits, Store};

use crate::support::once::Ended;
use crate::support::sessions::{session, terms};
use crate::support::sidecar::{Place, Sidecar};

const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_sessgate");

/// The value of `--admin`.
fn admin(sidecar: &Sidecar) -> String {
    match sidecar.admin() {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Asks again until the series has at least this value.
#[track_caller]
fn await_metric(sidecar: &Sidecar, series: &str, at_least: f64) {
    let begin = Instant::now();
    while sidecar.metric(series) < at_least {
        assert!(begin.elapsed() < PATIENCE, "{series} stays below {at_least}:\n{}", sidecar.log().text());
    }
}

#[test]
fn version_and_help_are_no_errors() {
    let place = Place::new("");
    let version = place.once(["--version"]).expect(0);
    assert_eq!(version.out, format!("sessgate {}\n", env!("CARGO_PKG_VERSION")));
    let help = place.once(["--help"]).expect(0).out;
    for word in ["run", "check", "schema", "top", "health", "import", "--config <FILE>", "--version"] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
    for command in ["run", "check", "schema", "top", "health", "import"] {
        let help = place.once([command, "--help"]).expect(0);
        assert!(help.out.contains("Usage: sessgate"), "{command}: {help:?}");
    }
}

#[test]
fn what_is_not_understood_is_64() {
    let place = Place::new("");
    for arguments in [
        &["--frob"][..],
        &["bogus"],
        &["check", "--frob"],
        &["check", "--config"],
        &["run", "--config", "a", "--config", "b"],
        &["--config", "a", "check"],
        &["schema", "surplus"],
        &["top", "--admin", "ftp://127.0.0.1:9480"],
        &["health", "--admin", "127.0.0.1:9480"],
        &["health", "--admin", "https://127.0.0.1:9480"],
        &["health", "--admin", "unix:"],
        &["health", "--api-key-file", "missing"],
    ] {
        let Ended { code, out, err } = place.once(arguments);
        assert_eq!((code, out.as_str()), (Some(64), ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: ") || err.starts_with("sessgate: "), "{arguments:?}: {err}");
    }
}

#[test]
fn check_tells_every_problem_with_its_place_and_a_hint() {
    let place = Place::new("");
    let file = "limits:\n  memroy_sessions: 5\nlifetimes:\n  idle_timeout: soon\nlog: { level: loud }\n\
                redis_door:\n  sessions:\n    - match: 'app:'\n      usr: /id\n";
    fs::write(place.config_path(), file).unwrap();
    let told = "\
config.yaml:2:3: unknown key `limits.memroy_sessions`
  hint: did you mean `memory_sessions`?
config.yaml:4:17: `lifetimes.idle_timeout`: `soon` must start with a number
config.yaml:5:15: `log.level`: `loud` is not one of error, warn, info, debug, trace
config.yaml:9:7: unknown key `redis_door.sessions[].usr`
  hint: did you mean `user`?
";
    let checked = place.once(["check"]).expect(78);
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("", told));
    // What does not pass the check does not start, and says the same.
    for arguments in [&[][..], &["run"], &["--config", "config.yaml"], &["run", "--config", "config.yaml"]] {
        assert_eq!(place.once(arguments).expect(78).err, told, "{arguments:?}");
    }
    assert!(!place.store_path().exists(), "nothing is touched before the configuration is known to be good");
}

#[test]
fn check_reads_the_file_it_is_given() {
    let place = Place::new("");
    fs::write(place.path().join("other.yaml"), "log: { level: debug }\n").unwrap();
    fs::write(place.path().join("empty.yaml"), "").unwrap();
    fs::create_dir(place.path().join("directory")).unwrap();
    assert_eq!(place.once(["check", "--config", "other.yaml"]).expect(0).out, "other.yaml: valid\n");
    assert_eq!(place.once(["check"]).expect(0).out, "config.yaml: valid\n");
    for (file, told) in [
        ("missing.yaml", "missing.yaml: the file does not exist"),
        ("empty.yaml", "empty.yaml: the file is empty\n  hint: write `{}` to ask for the defaults"),
        ("directory", "directory: the file is not a regular file"),
    ] {
        for command in ["check", "run"] {
            assert_eq!(place.once([command, "--config", file]).expect(78).err.trim_end(), told);
        }
    }
    fs::remove_file(place.config_path()).unwrap();
    let told = place.once(["check"]).expect(0).out;
    assert_eq!(told, "there is no config.yaml: the documented defaults hold\n");
}

#[test]
fn the_shipped_configuration_is_valid() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml");
    let told = Place::new("").once(["check", "--config", shipped]).expect(0).out;
    assert_eq!(told, format!("{shipped}: valid\n"));
}

#[test]
fn schema_prints_the_schema_of_every_key() {
    let printed = Place::new("").once(["schema"]).expect(0).out;
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (section, keys) in [
        ("listen", &["api", "admin", "api_key_file"][..]),
        (
            "lifetimes",
            &["idle_timeout", "absolute_timeout", "stale_after", "on_stale", "memory_idle", "sweep_interval"],
        ),
        (
            "limits",
            &["memory_sessions", "memory_bytes", "stored_sessions", "stored_bytes", "session_bytes", "per_user"],
        ),
        ("limits", &["creation_per_ip", "leases"]),
        ("top_users", &["count", "label"]),
        ("log", &["level", "format"]),
    ] {
        for key in keys {
            let declared = &schema["properties"][section]["properties"][key];
            assert!(declared["description"].is_string(), "{section}.{key}: {declared}");
        }
    }
    assert_eq!(schema["additionalProperties"], false, "a misspelt key is an error");
}

#[tokio::test]
async fn a_clock_far_behind_the_store_is_refused_unless_it_is_said_to_be_right() {
    let place = Place::new("");
    let later = SystemClock::new().now().at + Duration::from_secs(2 * 86_400);
    let store = EmbeddedStore::open(place.store_path(), later, Arc::new(OsGenerator)).unwrap();
    store.create(session(1, Some("ada"), later), CreateLimits::default(), terms(later)).await.unwrap();
    store.close().await;
    let told = place.once(["run"]).expect(74).err;
    assert!(told.contains("set the clock") && told.contains("`--trust-clock`"), "{told}");
    for arguments in [&["--trust-clock"][..], &["run", "--trust-clock"]] {
        let mut child = place.command().args(arguments).spawn().expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let served = log.any(|line| line.contains("serving api="));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(served, "{arguments:?}");
    }
}

/// Runs the program here without a file, and shows `each` line that it logs, until that says to end it. What it has logged.
///
/// On its default ports, so in a network of its own: others may use them.
fn without_a_file(place: &Place, mut each: impl FnMut(&str) -> bool) -> String {
    fs::remove_file(place.config_path()).unwrap();
    let mut command = Command::new("unshare");
    let script = "ip link set lo up && exec timeout 60 \"$0\"";
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", script, PROGRAM]);
    command.current_dir(place.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a namespace can be made");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = String::new();
    for line in &mut log {
        if each(&line) {
            let sent = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status();
            assert!(sent.unwrap().success());
        }
        said = said + &line + "\n";
    }
    assert_eq!(child.wait().expect("it is ours").code(), Some(0), "{said}");
    said
}

#[test]
fn it_starts_without_a_file_flags_and_environment_and_says_so() {
    let place = Place::new("");
    let said = without_a_file(&place, |line| line.contains("serving api="));
    assert!(said.contains("there is no config.yaml: running on the documented defaults"), "{said}");
    assert!(said.contains("serving api=127.0.0.1:8480 admin=127.0.0.1:9480"), "{said}");
    assert!(place.path().join("data/sessgate.db").is_file(), "the store is beside it");
}

#[test]
fn a_file_that_came_later_and_is_gone_again_is_missed() {
    let place = Place::new("");
    let said = without_a_file(&place, |line| {
        if line.contains("serving api=") {
            fs::write(place.config_path(), "top_users: { count: 7 }\n").unwrap();
        }
        if line.contains("configuration changed") {
            fs::remove_file(place.config_path()).unwrap();
        }
        line.contains("configuration refused")
    });
    let told = "config.yaml: the file is gone; what it said last stays in force until a restart, which would take the defaults";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_file_that_is_gone_is_missed() {
    let place = Place::new("");
    let sidecar = place.start();
    fs::remove_file(place.config_path()).unwrap();
    let reload = || sidecar.admin_client().request("POST", "/-/reload", None, "");
    for _ in 0..2 {
        let told = reload().expect(422).text();
        assert!(told.contains("config.yaml: the file is gone; what it said last stays in force"), "{told}");
    }
    assert!(sidecar.metric("sessgate_config_last_reload_successful") < 0.5);
    place.write_config("");
    reload().expect(200);
    sidecar.stop();
}

#[test]
fn a_signal_to_end_ends_it_cleanly() {
    let place = Place::new("");
    for signal in ["TERM", "INT"] {
        let sidecar = place.start();
        let log = sidecar.log().clone();
        sidecar.signal(signal);
        assert_eq!(sidecar.wait(PATIENCE).0, Some(0), "SIG{signal}");
        assert!(log.text().ends_with("stopped; everything is saved\n"), "{}", log.text());
    }
}

#[test]
fn a_hangup_reads_the_configuration_anew() {
    let place = Place::new("top_users: { count: 10 }\n");
    let sidecar = place.start();
    let config = || sidecar.admin_client().get("/-/config").expect(200).text();
    assert!(config().contains("count: 10"));
    place.write_config("top_users: { count: 7 }\n");
    sidecar.signal("HUP");
    await_metric(&sidecar, "sessgate_config_reloads_total{result=\"ok\",trigger=\"signal\"}", 1.0);
    assert!(config().contains("count: 7"), "{}", config());

    place.write_config("top_users: { count: many }\n");
    sidecar.signal("HUP");
    await_metric(&sidecar, "sessgate_config_reloads_total{result=\"error\",trigger=\"signal\"}", 1.0);
    assert!(config().contains("count: 7"), "the last good one stays in force");
    let told = "config.yaml:3:21: `top_users.count`: `many` is no whole number; write it with digits only";
    assert!(sidecar.log().wait_for(PATIENCE, |line| line.contains(told)).is_some(), "{}", sidecar.log().text());
    sidecar.stop();
}

/// Holds a lease on the file it is given, so that whoever opens it has to wait, and says so once somebody does.
const HOLD: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, lambda *_: print('asked', flush=True))
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while True: signal.pause()
";

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reload_that_hangs_keeps_it_from_nothing() {
    let place = Place::new("");
    let sidecar = place.start();
    let mut holder = Command::new("python3");
    holder.args(["-c", HOLD]).arg(place.config_path()).stdout(Stdio::piped());
    let mut holder = KilledOnDrop(holder.spawn().expect("python3 is installed"));
    let mut said = BufReader::new(holder.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(said.next().as_deref(), Some("held"));
    sidecar.signal("HUP");
    assert_eq!(said.next().as_deref(), Some("asked"));
    sidecar.client().get("/v1/stats").expect(200);
    sidecar.signal("TERM");
    // The system breaks a lease after 45 s.
    let ended = sidecar.wait(Duration::from_secs(20)).0;
    assert_eq!(ended, Some(0));
}

#[test]
fn an_address_that_cannot_be_listened_on_is_69_and_its_key_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // From the block for documentation, which no machine has.
    let foreign = "192.0.2.1:7000";
    for (key, others) in [("api", ["admin", "redis"]), ("admin", ["api", "redis"]), ("redis", ["api", "admin"])] {
        for (address, why) in [
            (&*taken, "another process already does; stop it, or change the key"),
            (foreign, "Cannot assign requested"),
        ] {
            let place = Place::new("");
            fs::write(place.path().join("key"), "s3cret").unwrap();
            let others = others.map(|other| format!("{other}: 127.0.0.1:0")).join(", ");
            place.write_config(&format!("listen: {{ {key}: '{address}', {others}, api_key_file: key }}\n"));
            let told = place.once(["run"]).expect(69).err;
            assert!(told.contains(&format!("cannot listen on {address} (`listen.{key}`): {why}")), "{told}");
            assert!(!place.store_path().exists(), "it binds before it touches the store");
        }
    }
}

#[test]
fn health_says_whether_it_is_ready() {
    let place = Place::new("");
    let sidecar = place.start();
    let admin = admin(&sidecar);
    assert_eq!(place.once(["health", "--admin", &admin]).expect(0).err, "");
    sidecar.stop();
    let told = format!(
        "sessgate: nothing listens on {admin}; is the sidecar running? If `listen.admin` differs, name it with `--admin`\n"
    );
    for command in ["health", "top"] {
        assert_eq!(place.once([command, "--admin", &admin]).expect(1).err, told);
    }
}

#[test]
fn health_and_top_say_what_answered_in_place_of_an_admin_listener() {
    let place = Place::new("");
    let sidecar = place.start();
    let Address::Tcp(api) = sidecar.api() else { panic!("it listens on TCP") };
    for command in ["health", "top"] {
        let told = place.once([command, "--admin", &format!("http://me:canary@{api}")]).expect(1).err;
        assert_eq!(told, format!("sessgate: http://***@{api} is not an admin listener; see `listen.admin`\n"));
    }
    sidecar.stop();
    // Answers as a sidecar does that is about to stop.
    let stopping = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = format!("http://{}", stopping.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut client, _) = stopping.accept().unwrap();
        BufReader::new(&client).lines().map_while(Result::ok).find(String::is_empty).expect("it asks");
        let said = "draining\n";
        write!(client, "HTTP/1.1 503 x\r\ncontent-length: {}\r\n\r\n{said}", said.len()).unwrap();
    });
    let told = place.once(["health", "--admin", &admin]).expect(1).err;
    assert_eq!(told, format!("sessgate: {admin} is not ready: draining\n"));
    answering.join().unwrap();
}

#[test]
fn plain_http_needs_no_certificates_on_the_machine_and_https_says_that_it_does() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = |url: &str| format!("hooks: {{ session_closed: {{ url: '{url}' }} }}\n");
    let mut place = Place::new(&hook(&format!("http://{}/ended", app.local_addr().unwrap())));
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        place.set_env(name, "/none");
    }
    let sidecar = place.start();
    let end_one = || {
        let id = sidecar.client().request("POST", "/v1/sessions", None, "{}").expect(201).json()["id"].clone();
        sidecar.client().request("DELETE", &format!("/v1/sessions/{}", id.as_str().unwrap()), None, "").expect(204);
    };
    let admin = admin(&sidecar);
    place.once(["health", "--admin", &admin]).expect(0);
    place.once(["top", "--admin", &admin]).expect(0);
    end_one();
    let (mut caller, _) = app.accept().unwrap();
    BufReader::new(&caller).lines().map_while(Result::ok).find(String::is_empty).expect("it calls");
    write!(caller, "HTTP/1.1 204 x\r\n\r\n").unwrap();
    await_metric(&sidecar, "sessgate_hook_deliveries_total{result=\"ok\"}", 1.0);

    place.write_config(&hook("https://127.0.0.1:1/ended"));
    sidecar.log().wait_for(PATIENCE, |line| line.contains("configuration changed")).expect("it reloads");
    end_one();
    let failed = sidecar.log().wait_for(PATIENCE, |line| line.contains("hook failed")).expect("it says so");
    // In the words of the libraries, but with the cause.
    assert!(failed.contains("could not be set up: builder error: "), "{failed}");
    sidecar.stop();
}

#[test]
fn the_admin_door_may_be_a_unix_socket() {
    let place = Place::new("");
    let socket = place.path().join("admin.sock");
    place.write_config(&format!("listen: {{ api: 127.0.0.1:0, admin: 'unix:{}' }}\n", socket.display()));
    let sidecar = place.start();
    let admin = admin(&sidecar);
    assert_eq!(admin, format!("unix:{}", socket.display()));
    place.once(["health", "--admin", &admin]).expect(0);
    assert!(place.once(["top", "--admin", &admin]).expect(0).out.contains("storage"));
    sidecar.stop();
    assert!(!socket.exists(), "it goes with the process");
    let told = place.once(["health", "--admin", &admin]).expect(1).err;
    assert!(told.starts_with(&format!("sessgate: nothing listens on {admin}; ")), "{told}");
}

#[test]
fn the_key_comes_from_a_file() {
    let place = Place::new("");
    let key = place.path().join("key");
    fs::write(&key, "s3cret-key\n").unwrap();
    place.write_config("listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0, api_key_file: key }\n");
    let sidecar = place.start();
    let admin = admin(&sidecar);
    place.once(["health", "--admin", &admin]).expect(0);
    let told = place.once(["top", "--admin", &admin]).expect(1).err;
    assert_eq!(told, format!("sessgate: {admin} asks for the API key: name its file with `--api-key-file`\n"));
    fs::write(place.path().join("other"), "other").unwrap();
    let told = place.once(["top", "--admin", &admin, "--api-key-file", "other"]).expect(1).err;
    assert_eq!(told, format!("sessgate: {admin} refuses the key of `--api-key-file`\n"));
    place.once(["top", "--admin", &admin, "--api-key-file", "key"]).expect(0);
    sidecar.stop();
}

#[test]
fn top_without_a_terminal_prints_once() {
    let place = Place::new("top_users: { label: plain }\n");
    let sidecar = place.start();
    sidecar.client().request("POST", "/v1/sessions", None, "{\"user\":\"ann\"}").expect(201);
    // A picture of the figures may be taken between the store's answer and the entry in memory.
    for figure in ["sessgate_users", "sessgate_sessions{tier=\"memory\",scope=\"local\"}"] {
        await_metric(&sidecar, figure, 1.0);
    }
    let shown = place.once(["top", "--admin", &admin(&sidecar)]).expect(0).out;
    assert!(!shown.contains('\x1b'), "no terminal, no commands to it: {shown:?}");
    for words in [&["memory", "1", "50000"][..], &["sessions", "created", "1"], &["ann", "1"]] {
        let found = shown.lines().any(|line| words.iter().all(|word| line.split_whitespace().any(|w| w == *word)));
        assert!(found, "{words:?} in {shown}");
    }
    sidecar.stop();
}

#[test]
fn top_on_a_terminal_draws_until_it_is_interrupted() {
    let place = Place::new("");
    let sidecar = place.start();
    // `exec`, or a shell in between would die of the Ctrl-C and lend its exit code to script(1).
    let mut terminal = Command::new("script");
    terminal.args([
        "--quiet",
        "--return",
        "--command",
        &format!("exec {PROGRAM} top --admin {}", admin(&sidecar)),
        "/dev/null",
    ]);
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1) is essential");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    let mut buffer = [0; 4096];
    // The second picture has rates, and is drawn over the first.
    while shown.matches("\x1b[Hsessgate top").count() < 2 {
        let count = screen.read(&mut buffer).expect("the terminal can be read");
        assert!(count > 0, "it ended after: {shown}");
        shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    keys.write_all(b"\x03").expect("Ctrl-C can be typed");
    drop(screen.read_to_end(&mut Vec::new()));
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
    sidecar.stop();
}

#[test]
fn a_reader_that_has_gone_away_is_no_bug_of_ours() {
    let place = Place::new("");
    let sidecar = place.start();
    let admin = admin(&sidecar);
    for arguments in [
        &["schema"][..],
        &["check"],
        &["--help"],
        &["--version"],
        &["top", "--admin", &admin],
        &["health", "--admin", &admin],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = place.command().args(arguments).stdout(writer).spawn().expect("the program starts");
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    }
    sidecar.stop();
}

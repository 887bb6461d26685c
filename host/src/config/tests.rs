use super::*;
use crate::engine::Policy;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/g.toml"))
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_documented_text_means_the_defaults() {
    assert_eq!(parse(Config::DEFAULT_TEXT).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn every_example_in_the_documented_text_is_valid_and_differs_from_the_default() {
    let setting =
        |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.contains("# ["));
    let examples = Config::DEFAULT_TEXT.lines().filter(setting).count();
    assert_eq!(examples, 8, "seven settings without a default, and a plugin's section");
    let text: String = Config::DEFAULT_TEXT
        .lines()
        .filter(|line| *line != "workers = 1")
        .map(|line| if setting(&line) { &line[2..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = parse(&text).unwrap();
    assert_eq!((config.main_core, config.workers), (Some(0), 4));
    assert_eq!(config.corelist_workers, [1, 2, 3, 5]);
    assert_eq!(config.scheduling, Scheduling { policy: Some(Policy::Fifo), priority: 1 });
    assert_eq!(config.cli.socket, Some("/run/gristmill/cli.sock".into()));
    assert_eq!(config.cli.group.as_deref(), Some("gristmill"));
    assert_eq!(config.log.file, Some("/var/log/gristmill.log".into()));
    assert_eq!(config.section("tap").unwrap().entries[0].value, "256");
}

#[test]
fn every_setting_is_read() {
    let text = r#"
[host]
workers = 0x3
main-core = 4
scheduler-policy = "fifo"
scheduler-priority = 40
buffers = 65_536
plugins = ["tap", "./x.so", "/opt/y.so"]
plugin-dirs = ["plugins", "/usr/lib/g"]
allow-abort-plugins = true
trust-writable-plugins = true
exec = ["create tap", " set interface state tap0 up "]
[cli]
socket = "cli.sock"
group = "net"
[log]
level = "debug"
lines = 10
[rx]
polling-threshold = 32
interrupt-threshold = 8
[handoff]
ring-size = 4096
[watchdog]
threshold-ms = 25
hang-ms = 300
[barrier]
deadline-ms = 20
[work]
max-threads = 7
"#;
    let command = |text: &str| Exec::Command { text: text.into(), line: 12 };
    let expected = Config {
        workers: 3,
        main_core: Some(4),
        corelist_workers: vec![],
        scheduling: Scheduling { policy: Some(Policy::Fifo), priority: 40 },
        barrier_deadline: Nanos::from_millis(20),
        buffers: 65_536,
        plugins: vec![
            PluginChoice::Name("tap".into()),
            PluginChoice::Path("/etc/./x.so".into()),
            PluginChoice::Path("/opt/y.so".into()),
        ],
        plugin_dirs: vec!["/etc/plugins".into(), "/usr/lib/g".into()],
        allow_abort_plugins: true,
        trust_writable_plugins: true,
        exec: vec![command("create tap"), command("set interface state tap0 up")],
        cli: Cli { socket: Some("/etc/cli.sock".into()), group: Some("net".into()) },
        log: Logging { level: Level::Debug, lines: 10, file: None },
        handoff: Handoff { ring_size: 4_096 },
        watchdog: Nanos::from_millis(25),
        hang: Nanos::from_millis(300),
        rx: Thresholds { polling: 32, interrupt: 8 },
        work_threads: 7,
        sections: vec![],
    };
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn a_script_is_a_path_from_the_file_s_folder() {
    let config = parse("host.exec = 'start.cli'").unwrap();
    assert_eq!(config.exec, [Exec::Script("/etc/start.cli".into())]);
}

#[test]
fn a_log_file_is_a_path_from_the_file_s_folder() {
    let file = |text: &str| parse(text).unwrap().log.file;
    assert_eq!(file("log.file = 'own.log'"), Some("/etc/own.log".into()));
    assert_eq!(file("log.file = '/var/log/own.log'"), Some("/var/log/own.log".into()));
    assert_eq!(problem("log.file = ''"), "/etc/g.toml:1:12: file is empty");
}

#[test]
fn a_core_list_says_how_many_workers_there_are() {
    let config = parse("[host]\ncorelist-workers = '5, 2-3'").unwrap();
    assert_eq!((config.workers, config.corelist_workers), (3, vec![5, 2, 3]));
    let config = parse("[host]\nworkers = 1\ncorelist-workers = '7'").unwrap();
    assert_eq!((config.workers, config.corelist_workers), (1, vec![7]));
}

#[test]
fn a_plugin_s_section_is_flattened_in_the_order_of_the_file() {
    let text = r#"[plugin.tap]
zeta = "a \"b\""
alpha = -0x10
beta.gamma = 1.50
list = [true, [1, 2]]
"odd.key" = 1979-05-27
empty = []

[plugin.ip4]
ttl = 64

[[plugin.tap.port]]
name = "p0"
[[plugin.tap.port]]
name = "p1"
"#;
    let config = parse(&text.replace("-0x10", "-16")).unwrap();
    let names: Vec<_> = config.sections.iter().map(|section| &section.plugin[..]).collect();
    assert_eq!(names, ["tap", "ip4"]);
    let entries: Vec<_> = config
        .section("tap")
        .unwrap()
        .entries
        .iter()
        .map(|entry| (&entry.key[..], &entry.value[..], entry.line))
        .collect();
    let expected = [
        ("zeta", "a \"b\"", 2),
        ("alpha", "-16", 3),
        ("beta.gamma", "1.50", 4),
        ("list.0", "true", 5),
        ("list.1.0", "1", 5),
        ("list.1.1", "2", 5),
        ("\"odd.key\"", "1979-05-27", 6),
        ("port.0.name", "p0", 13),
        ("port.1.name", "p1", 15),
    ];
    assert_eq!(entries, expected);
    assert_eq!(config.section("ip4").unwrap().line, 9);
    assert_eq!(config.section("absent"), None);
}

#[test]
fn an_error_says_where_and_what() {
    for (text, expected) in [
        ("[host]\n workrs = 1", "2:2: unknown setting \"workrs\": known are workers, "),
        (
            "[hots]",
            "1:2: unknown section \"hots\": known are [host], [barrier], [cli], [handoff], ",
        ),
        ("workers = 1", "1:1: unknown section \"workers\": known are "),
        ("host = 1", "1:8: host must be a section, not a whole number"),
        ("[host]\nworkers = 64", "2:11: workers = 64: must be 0 to 63"),
        ("[host]\nworkers = -1", "2:11: workers = -1: must be 0 to 63"),
        ("[host]\nworkers = '1'", "2:11: workers must be a whole number, not a string"),
        ("[host]\nworkers = 99999999999999999999", "2:11: workers does not fit 64 bits"),
        ("[host]\nbuffers = 1023", "2:11: buffers = 1023: must be 1024 to 16777216"),
        ("[host]\nbuffers = 1e6", "2:11: buffers must be a whole number, not a number with a fr"),
        ("[host]\nplugins = 'tap'", "2:11: plugins must be a list, not a string"),
        ("[host]\nplugins = [\n  'tap',\n  7]", "4:3: plugins must be a string, not a whole"),
        ("[host]\nplugins = ['x.so']", "2:12: plugins \"x.so\": a plugin's file needs a '/'"),
        ("[host]\nplugins = ['a', 'a']", "2:17: plugins \"a\": it is listed twice"),
        ("[host]\nplugin-dirs = ['']", "2:16: plugin-dirs is empty"),
        ("[host]\nallow-abort-plugins = 1", "2:23: allow-abort-plugins must be true or false, "),
        ("[host]\nexec = 1", "2:8: exec must be a list of commands or the path of a script, not"),
        ("[host]\nexec = ['a', '''b\nc''']", "2:14: write one command a string"),
        ("[host]\nworkers = 3\ncorelist-workers = '1'", "2:11: workers = 3, but corelist-workers"),
        (
            "host.corelist-workers = '1-2'\nhost.main-core = 2",
            "1:25: corelist-workers names core 2,",
        ),
        ("[host]\ncorelist-workers = '1,x'", "2:20: corelist-workers \"1,x\": write cores from 0"),
        ("[host]\ncorelist-workers = '3-1'", "2:20: corelist-workers \"3-1\": 3-1 runs backwards"),
        ("[host]\ncorelist-workers = '1-3,2'", "2:20: corelist-workers \"1-3,2\": core 2 is named"),
        ("[host]\ncorelist-workers = '0-4095'", "2:20: corelist-workers \"0-4095\": there can be"),
        ("[host]\ncorelist-workers = '0-4294967295'", "2:20: corelist-workers \"0-4294967295\": w"),
        ("[cli]\nsocket = 1979-05-27", "2:10: socket must be a string, not a date or time"),
        ("[cli]\nmode = 1", "2:1: unknown setting \"mode\": known are socket, group"),
        ("[log]\nlevel = 'loud'", "2:9: level \"loud\": a level is error, warn, notice or debug"),
        ("[log]\nlines = 0", "2:9: lines = 0: must be 1 to 65536"),
        ("[handoff]\nring-size = 1", "2:13: ring-size = 1: must be 2 to 65536"),
        ("[handoff]\nring-size = 65537", "2:13: ring-size = 65537: must be 2 to 65536"),
        ("[handoff]\nring-size = 100", "2:13: ring-size = 100: must be a power of two, 64 or 128"),
        ("[handoff]\nring = 1", "2:1: unknown setting \"ring\": known are ring-size"),
        ("[watchdog]\nthreshold-ms = 60001", "2:16: threshold-ms = 60001: must be 0 to 60000"),
        ("[watchdog]\nthreshold = 1", "2:1: unknown setting \"threshold\": known are threshold-ms"),
        ("[barrier]\ndeadline-ms = 0", "2:15: deadline-ms = 0: must be 1 to 60000"),
        ("[host]\nscheduler-policy = 'best'", "2:20: there is no scheduler policy \"best\": take"),
        ("[host]\nscheduler-priority = 5", "2:22: scheduler-priority is for scheduler-policy"),
        (
            "[host]\nscheduler-policy = 'batch'\nscheduler-priority = 5",
            "3:22: scheduler-priority is for scheduler-policy",
        ),
        ("[rx]\npolling = 1", "2:1: unknown setting \"polling\": known are polling-threshold, "),
        ("[rx]\npolling-threshold = 257", "2:21: polling-threshold = 257: must be 0 to 256"),
        ("[rx]\npolling-threshold = 5", "2:21: interrupt-threshold = 5, polling-threshold = 5: "),
        (
            "[rx]\ninterrupt-threshold = 12\npolling-threshold = 10",
            "3:21: interrupt-threshold = 12",
        ),
        ("plugin.tap = 1", "1:14: tap must be a section, not a whole number"),
        ("[plugin.Tap]", "1:9: \"Tap\" cannot be a plugin: a plugin's name is lower-case"),
        ("[plugin.tap]\nbig = 0xffffffffffffffff", "2:7: big does not fit 64 bits"),
        ("# ää\n[log] # é\nlines = 'é' # x", "3:9: lines must be a whole number, not a string"),
        ("[log]\nä = 1", "2:1: "),
        ("[log]\nlevel = ", "2:9: "),
        ("[log]\nlevel = 'warn\n", "2:14: "),
        ("[log]\nlines = 1\nlines = 2", "3:1: "),
        ("[log]\n[log]", "2:2: "),
    ] {
        let found = problem(text);
        assert!(found.starts_with(&format!("/etc/g.toml:{expected}")), "{text:?} gave {found:?}");
        assert_eq!(found.lines().count(), 1, "{found:?}");
    }
}

#[test]
fn a_socket_path_longer_than_the_system_takes_is_refused() {
    let text = format!("[cli]\nsocket = '/{}'", "x".repeat(107));
    let what = "2:10: socket has a path of 108 bytes: the system takes 107";
    assert_eq!(problem(&text), format!("/etc/g.toml:{what}"));
    assert!(parse(&text.replace("/x", "/")).is_ok());
}

#[test]
fn a_file_that_is_not_utf8_or_not_there_is_refused() {
    let dir = std::env::temp_dir().join(format!("gristmill-config-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("g.toml");
    fs::write(&file, b"[host]\n# \xc3\xa9\xff").unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2:4: this is not UTF-8", file.display()));
    fs::write(&file, "[host]\nworkers = 2").unwrap();
    assert_eq!(Config::load(&file).unwrap().workers, 2);
    fs::remove_dir_all(&dir).unwrap();
    let error = Config::load(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read configuration {}", file.display()));
}

#[test]
fn no_text_however_broken_panics() {
    let whole = Config::DEFAULT_TEXT;
    let mut seed = 1_u64;
    for round in 0..2_000 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..4 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).unwrap() % bytes.len();
            bytes[at] = b"[]=\"'#.{}\n\\0x\xc3"[usize::try_from(seed % 14).unwrap()];
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse(&text) {
            assert!(error.to_string().starts_with("/etc/g.toml:"), "round {round}: {error}");
        }
    }
}

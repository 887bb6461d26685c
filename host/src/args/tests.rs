use super::*;

fn parse(line: &str) -> Result<Args, ArgsError> {
    Args::parse(std::iter::once("gristmill").chain(line.split_whitespace()))
}

fn problem(line: &str) -> String {
    parse(line).unwrap_err().to_string()
}

#[test]
fn every_option_is_understood() {
    let args = parse(
        "--config a.toml --exec=b.cli --workers 63 --cli-socket /tmp/s --plugin-dir d --plugin-dir e \
         --plugin tap --plugin ./x.so",
    );
    let expected = Args {
        mode: Mode::Run,
        config: Some("a.toml".into()),
        exec: Some("b.cli".into()),
        workers: Some(63),
        cli_socket: Some("/tmp/s".into()),
        plugin_dirs: vec!["d".into(), "e".into()],
        plugins: vec![PluginChoice::Name("tap".into()), PluginChoice::Path("./x.so".into())],
    };
    assert_eq!(args, Ok(expected));
}

#[test]
fn the_demo_takes_its_own_options_and_all_others_in_any_order() {
    let args = parse("--workers 2 demo --json --seconds=5 --plugin-dir d").unwrap();
    assert_eq!(args.mode, Mode::Demo(Demo { seconds: 5, json: true }));
    assert_eq!((args.workers, args.plugin_dirs), (Some(2), vec!["d".into()]));
    assert_eq!(parse("demo").unwrap().mode, Mode::Demo(Demo::default()));
    assert_eq!(
        parse("--json demo").unwrap().mode,
        Mode::Demo(Demo { json: true, ..Demo::default() })
    );
}

#[test]
fn help_and_version_win_over_what_follows_them() {
    assert_eq!(parse("--help --nonsense").unwrap().mode, Mode::Help);
    assert_eq!(parse("demo -h").unwrap().mode, Mode::Help);
    assert_eq!(parse("-V").unwrap().mode, Mode::Version);
    assert_eq!(parse("--version").unwrap().mode, Mode::Version);
}

#[test]
fn an_error_names_option_and_value() {
    for (line, expected) in [
        ("--wrokers 2", "unknown option --wrokers: see gristmill --help"),
        ("-x", "unknown option -x: see gristmill --help"),
        ("demo demo", "unexpected argument \"demo\": see gristmill --help"),
        ("start", "unexpected argument \"start\": see gristmill --help"),
        ("--config", "--config needs a value"),
        ("--config=", "--config \"\": a path is not empty"),
        ("--workers 64", "--workers \"64\": must be a whole number from 0 to 63"),
        ("--workers -1", "--workers \"-1\": must be a whole number from 0 to 63"),
        ("--workers two", "--workers \"two\": must be a whole number from 0 to 63"),
        ("demo --seconds 0", "--seconds \"0\": must be a whole number from 1 to 86400"),
        ("demo --json=yes", "--json takes no value, \"yes\" was given"),
        ("--exec a --exec b", "--exec was given twice"),
        ("--workers 1 --workers 1", "--workers was given twice"),
        ("--seconds 3", "--seconds belongs to gristmill demo"),
        ("--json", "--json belongs to gristmill demo"),
        ("--plugin tap.so", "--plugin \"tap.so\": a plugin's file needs a '/': write ./ before it"),
        (
            "--plugin Tap",
            "--plugin \"Tap\": a plugin's name is lower-case letters, digits, '-' and '_', a letter \
             first",
        ),
    ] {
        assert_eq!(problem(line), expected, "{line}");
    }
}

#[test]
fn a_path_that_is_not_utf8_is_kept_and_a_number_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"a\xff".to_vec());
    let args = Args::parse(["g".into(), "--config".into(), odd.clone()]).unwrap();
    assert_eq!(args.config.unwrap().into_os_string(), odd);
    assert!(Args::parse(["g".into(), "--workers".into(), odd.clone()]).is_err());
    assert!(Args::parse(["g".into(), odd]).is_err());
}

#[test]
fn no_argument_and_no_configuration_mean_the_demo() {
    let none = parse("").unwrap();
    assert_eq!(none.clone().with_default_config(false).mode, Mode::Demo(Demo::default()));
    let run = none.with_default_config(true);
    assert_eq!((run.mode, run.config), (Mode::Run, Some(Args::DEFAULT_CONFIG.into())));
}

#[test]
fn any_argument_means_a_run_with_the_configuration_there_is() {
    let workers = parse("--workers 2").unwrap();
    let without = workers.clone().with_default_config(false);
    assert_eq!((without.mode, without.config), (Mode::Run, None));
    assert_eq!(workers.with_default_config(true).config, Some(Args::DEFAULT_CONFIG.into()));
    let named = parse("--config mine.toml").unwrap();
    assert_eq!(named.with_default_config(true).config, Some("mine.toml".into()));
    assert_eq!(parse("demo").unwrap().with_default_config(true).config, None);
}

#[test]
fn arguments_replace_single_settings_and_append_to_lists() {
    let text = "[host]\nworkers = 2\nplugins = ['tap']\nplugin-dirs = ['/a']\nexec = ['show version']\n\
        [cli]\nsocket = '/s'";
    let mut config = Config::parse(text, "c.toml".as_ref()).unwrap();
    let args = "--workers 0 --cli-socket /t --plugin tap --plugin null --plugin-dir /b --exec x";
    parse(args).unwrap().apply(&mut config).unwrap();
    assert_eq!((config.workers, config.cli.socket), (0, Some("/t".into())));
    assert_eq!(config.plugins, ["tap", "null"].map(|name| PluginChoice::Name(name.into())));
    assert_eq!(config.plugin_dirs, [PathBuf::from("/a"), "/b".into()]);
    assert_eq!(config.exec.len(), 2);
    assert_eq!(config.exec[1], Exec::Script("x".into()));
}

#[test]
fn fewer_workers_take_the_first_cores_and_more_than_cores_are_refused() {
    let config = Config::parse("[host]\ncorelist-workers = '2-4'", "c.toml".as_ref()).unwrap();
    let mut fewer = config.clone();
    parse("--workers 2").unwrap().apply(&mut fewer).unwrap();
    assert_eq!((fewer.workers, fewer.corelist_workers), (2, vec![2, 3]));
    let mut more = config.clone();
    let error = parse("--workers 4").unwrap().apply(&mut more).unwrap_err().to_string();
    assert_eq!(error, "--workers \"4\": corelist-workers in the configuration names 3 cores");
    assert_eq!(more, config, "a refused command line changes nothing");
}

#[test]
fn the_usage_names_every_option_and_fits_a_terminal() {
    for option in [
        "--config",
        "--exec",
        "--workers",
        "--cli-socket",
        "--plugin-dir",
        "--plugin ",
        "--help",
        "--version",
        "--seconds",
        "--json",
        Args::DEFAULT_CONFIG,
    ] {
        assert!(USAGE.contains(option), "{option}");
    }
    assert!(USAGE.contains(&format!("0 to {MAX_WORKERS}")));
    assert!(USAGE.contains(&format!("; {} if not given", Demo::default().seconds)));
    assert!(USAGE.lines().all(|line| line.len() <= 80));
}

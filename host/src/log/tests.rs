use std::sync::mpsc;

use super::*;
use crate::{deferred::work, time::Clock};

/// A sink that waits for a permit before each write.
struct Slow {
    permits: mpsc::Receiver<()>,
    written: Arc<Mutex<String>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _gone = self.permits.recv();
        self.written.lock().push_str(str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn unthrottled() -> Settings {
    Settings { level: Level::Debug, rate: u32::MAX, ..Settings::default() }
}

/// A log and what writes it, which goes after it.
struct Written {
    log: Log,
    work: WorkQueues,
}

impl std::ops::Deref for Written {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

fn log_to(
    settings: &Settings,
    at: Nanos,
    sink: impl Write + Send + 'static,
    colours: bool,
) -> Written {
    let work = WorkQueues::default();
    let log = Log::to_sink(settings, &work, move || at, sink, colours).unwrap();
    Written { log, work }
}

fn memory(settings: &Settings) -> (Written, Memory) {
    let sink = Memory::default();
    (log_to(settings, Nanos::from_micros(1_500_042), sink.clone(), false), sink)
}

fn texts(log: &Log) -> Vec<String> {
    log.lines().iter().map(|line| line.text.to_string()).collect()
}

#[test]
fn a_line_has_time_level_class_and_text() {
    let (log, sink) = memory(&unthrottled());
    log.warn("tap", "tap0 has no carrier");
    log.write_at(Nanos(123_456_789_000_999), Level::Error, "ip4", format_args!("{} left", 3));
    assert!(log.flush(PATIENCE));
    let expected = "     1.500042 warn   tap: tap0 has no carrier\n\
                    123456.789000 error  ip4: 3 left\n";
    assert_eq!(sink.text(), expected);
    let shown: String = log.lines().iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn only_levels_in_force_are_logged() {
    let (log, _) = memory(&Settings::default());
    log.debug("a", "1");
    log.notice("a", "2");
    log.set_level(Level::Error);
    log.warn("a", "3");
    log.error("a", "4");
    log.set_level(Level::Debug);
    log.debug("a", "5");
    assert_eq!(texts(&log), ["2", "4", "5"]);
}

#[test]
fn nobody_can_forge_a_line_or_move_the_cursor() {
    let (log, sink) = memory(&unthrottled());
    log.notice(
        "evil",
        "x\n     9.000000 error  host: all is lost\r\x1b[2J\u{9b}31m\u{202e}\u{7f}\t",
    );
    log.notice("evil: y\n", "z");
    log.notice("", "w");
    assert!(log.flush(PATIENCE));
    let expected = "     1.500042 notice evil: x\\n     9.000000 error  host: all is lost\\r\
                    \\u{1b}[2J\\u{9b}31m\\u{202e}\\u{7f}\\t\n     1.500042 notice \
                    evil\\u{3a}\\u{20}y\\n: z\n     1.500042 notice ?: w\n";
    assert_eq!(sink.text(), expected);
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let (log, _) = memory(&unthrottled());
    log.notice(&"c".repeat(1_000), "ä".repeat(100_000));
    log.notice("a", format!("{}\n", "b".repeat(1_023)));
    log.notice("a", "b".repeat(1_024));
    let lines = log.lines();
    assert_eq!(&*lines[0].class, "c".repeat(64));
    assert_eq!(&*lines[0].text, format!("{}…", "ä".repeat(512)));
    assert_eq!(&*lines[1].text, format!("{}…", "b".repeat(1_023)));
    assert_eq!(&*lines[2].text, "b".repeat(1_024));
}

#[test]
fn colours_are_only_where_they_were_asked_for() {
    let sink = Memory::default();
    let log = log_to(&unthrottled(), Nanos::ZERO, sink.clone(), true);
    log.error("a", "b");
    assert!(log.flush(PATIENCE));
    assert_eq!(sink.text(), "     0.000000 \x1b[1;31merror \x1b[0m a: b\n");
    assert_eq!(log.lines()[0].to_string(), "     0.000000 error  a: b");
}

#[test]
fn the_ring_keeps_the_last_lines() {
    let (log, _) = memory(&Settings { lines: 3, ..unthrottled() });
    for number in 0..10 {
        log.notice("a", number);
    }
    assert_eq!(texts(&log), ["7", "8", "9"]);
    log.clear();
    assert_eq!(texts(&log), [""; 0]);
}

#[test]
fn a_class_over_its_rate_is_silent_until_it_was_quiet() {
    let (log, _) = memory(&Settings::default());
    let at = |millis, class, text: &str| {
        log.write_at(Nanos::from_millis(millis), Level::Notice, class, text);
    };
    for number in 0..60 {
        at(10_000 + number, "noisy", "n");
        at(10_000, "other", "o");
    }
    let count = |class: &str| log.lines().iter().filter(|line| &*line.class == class).count();
    assert_eq!((count("noisy"), count("other")), (51, 51), "50 lines and the word on it, each");
    let word = log.lines().pop().unwrap();
    assert_eq!(
        (word.level, &*word.text),
        (Level::Warn, "throttled: over 50 lines in a second, silent until 3 s without a line")
    );
    // Never quiet for 3 s: silent.
    for second in 11..20 {
        at(second * 1_000, "noisy", "n");
    }
    assert_eq!(count("noisy"), 51);
    at(22_000, "noisy", "back");
    let last: Vec<_> = texts(&log).split_off(102);
    assert_eq!(last, ["19 lines were suppressed", "back"]);
    // The allowance is a whole one again.
    for _ in 0..60 {
        at(22_500, "noisy", "n");
    }
    assert_eq!(count("noisy"), 51 + 2 + 49 + 1);
}

#[test]
fn a_rate_just_within_the_limit_is_never_throttled() {
    let (log, _) = memory(&Settings { lines: 1_000, ..Settings::default() });
    for number in 0..500 {
        log.write_at(Nanos::from_millis(number * 20), Level::Notice, "a", "b");
    }
    assert_eq!(log.lines().len(), 500);
}

#[test]
fn a_clock_a_little_behind_another_thread_s_does_no_harm() {
    let (log, _) = memory(&Settings::default());
    for number in 0..40 {
        log.write_at(Nanos::from_millis(5_000 - number), Level::Notice, "a", "b");
    }
    assert_eq!(log.lines().len(), 40);
}

#[test]
fn any_number_of_classes_takes_bounded_memory_and_shares_what_is_left() {
    let mut throttles = Throttles::new(2, Nanos::from_secs(3));
    let now = Nanos::from_secs(100);
    for number in 0..256 {
        assert_eq!(throttles.admit(&format!("c{number}"), now, None).1, Verdict::Pass);
    }
    let verdicts =
        [0, 1, 2, 3].map(|number| throttles.admit(&format!("more{number}"), now, None).1);
    let (pass, silent) = (Verdict::Pass, Verdict::Silent);
    assert_eq!(verdicts, [pass, pass, Verdict::Throttle, silent]);
    // Those that have been quiet make room.
    let later = Nanos::from_secs(104);
    assert_eq!(throttles.admit("new", later, None).1, pass);
    assert_eq!(throttles.admit("new", later, None).1, pass);
    assert_eq!(throttles.admit("new", later, None).1, Verdict::Throttle);
}

#[test]
fn a_sink_that_takes_nothing_stops_nobody_and_the_loss_is_said() {
    let (permit, permits) = mpsc::channel();
    let written = Arc::<Mutex<String>>::default();
    let sink = Slow { permits, written: Arc::clone(&written) };
    let settings = Settings { waiting: 100, lines: 10_000, ..unthrottled() };
    let log = log_to(&settings, Nanos::ZERO, sink, false);
    let threads = 4;
    let each = 500;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let log = &log.log;
            scope.spawn(move || {
                for number in 0..each {
                    log.notice("a", format_args!("{thread}-{number}"));
                }
            });
        }
    });
    // All are through although not one write has ended.
    assert_eq!(*written.lock(), "");
    assert_eq!(log.lines().len(), threads * each);
    assert!(!log.flush(Duration::from_millis(1)), "nothing was written yet");
    let unwritten = log.unwritten();
    assert!(unwritten > 0);
    drop(permit);
    assert!(log.flush(PATIENCE));
    let written = written.lock().clone();
    let (notes, lines): (Vec<_>, Vec<_>) =
        written.lines().partition(|line| line.contains(" lines are missing here"));
    let missing: u64 = notes
        .iter()
        .map(|note| note.split_whitespace().nth(3).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(missing, unwritten, "{notes:?}");
    assert_eq!(lines.len() as u64 + missing, (threads * each) as u64);
}

#[test]
fn a_pipe_nobody_reads_stops_nobody() {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };
    const INSIDE: &str = "GRISTMILL_TEST_FULL_PIPE";
    if std::env::var_os(INSIDE).is_some() {
        let settings = Settings { lines: 1, ..unthrottled() };
        let work = WorkQueues::default();
        let log = Log::to_stderr(&settings, &work, || Nanos::ZERO).unwrap();
        for number in 0..20_000 {
            log.notice("a", format_args!("a line of some length, number {number}"));
        }
        assert!(log.unwritten() > 10_000);
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(this)
        .args(["--exact", "log::tests::a_pipe_nobody_reads_stops_nobody", "--nocapture"])
        .env(INSIDE, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&patience)).unwrap();
    if ready == 0 {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("     0.000000 notice a: a line of some length, number 0\n"));
}

#[test]
fn a_log_with_a_stuck_sink_goes_away_all_the_same() {
    let (_permit, permits) = mpsc::channel();
    let sink = Slow { permits, written: Arc::default() };
    let log = log_to(&unthrottled(), Nanos::ZERO, sink, false);
    log.notice("a", "b");
    drop(log);
}

#[test]
fn the_last_lines_are_written_before_a_log_goes_away() {
    let (log, sink) = memory(&unthrottled());
    for number in 0..200 {
        log.notice("a", number);
    }
    drop(log);
    assert_eq!(sink.text().lines().count(), 200);
}

#[test]
fn a_sink_that_fails_is_counted() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = log_to(&unthrottled(), Nanos::ZERO, Broken, false);
    log.notice("a", "b");
    assert!(log.flush(PATIENCE));
    assert_eq!(log.unwritten(), 1);
    assert_eq!(texts(&log), ["b"]);
}

#[test]
fn levels_have_names_and_numbers() {
    for level in [Level::Error, Level::Warn, Level::Notice, Level::Debug] {
        assert_eq!(level.to_string().parse(), Ok(level));
        assert_eq!(Level::from_abi(u32::from(level.number())), level);
    }
    assert_eq!(Level::from_abi(99), Level::Debug);
    assert_eq!("info".parse::<Level>(), Err(LevelError));
}

#[test]
fn a_class_is_logged_by_its_own_level_and_rate_and_counted() {
    let (log, _) = memory(&Settings::default());
    let set = |class, level, rate| log.set_class(class, ClassSetting { level, rate }).unwrap();
    set("acme/flows", Some(Level::Debug), Some(2));
    log.debug("acme", "not");
    log.debug("acme/flows", "1");
    assert!(log.enabled_for("acme/flows/new", Level::Debug));
    assert!(!log.enabled_for("acme", Level::Debug));
    for _ in 0..3 {
        log.notice("acme/flows", "2");
    }
    log.notice("acme", "3");
    let throttled = "throttled: over 2 lines in a second, silent until 3 s without a line";
    assert_eq!(texts(&log), ["1", "2", throttled, "3"]);
    let reports = log.class_reports();
    let told: Vec<_> = reports
        .iter()
        .map(|report| (&*report.class, report.level, report.rate, report.lines, report.suppressed))
        .collect();
    let expected = [("acme", Level::Notice, 50, 1, 0), ("acme/flows", Level::Debug, 2, 2, 2)];
    assert_eq!(told, expected);
    set("acme/flows", None, None);
    assert!(!log.enabled(Level::Debug));
}

/// A sink that takes as many bytes as it is allowed, and then fails.
#[derive(Clone, Default)]
struct Disk {
    room: Arc<Mutex<usize>>,
    memory: Memory,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = bytes.len().min(*room);
        *room -= n;
        self.memory.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_full_disk_a_line_begins_on_its_own_and_says_how_many_are_missing() {
    let disk = Disk { room: Arc::new(Mutex::new(50)), ..Disk::default() };
    let log = log_to(&unthrottled(), Nanos::ZERO, disk.clone(), false);
    for text in ["one", "two", "three", "four"] {
        log.notice("a", text); // 25 bytes and some.
        assert!(log.flush(PATIENCE));
    }
    assert_eq!(log.unwritten(), 3);
    *disk.room.lock() = 1_000;
    log.notice("a", "five");
    assert!(log.flush(PATIENCE));
    let text = disk.memory.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "     0.000000 notice a: one");
    assert!(lines[1].starts_with("     0.000000 notice"), "cut: {text}");
    assert!(lines[2].contains(" 3 lines are missing here"), "{text}");
    assert_eq!(lines[3], "     0.000000 notice a: five");
}

#[test]
fn a_file_gets_what_is_logged_from_then_on_and_is_opened_anew_after_it_was_moved() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let (log, stderr) = memory(&unthrottled());
    log.notice("a", "before");
    log.write_to(&log.work, &path).unwrap();
    log.notice("a", "one");
    std::fs::rename(&path, &moved).unwrap();
    log.notice("a", "two");
    log.write_to(&log.work, &path).unwrap();
    log.notice("a", "three");
    assert!(log.flush(PATIENCE));
    let lines = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line[24..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&moved), ["one", "two"]);
    assert_eq!(lines(&path), ["three"]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    assert_eq!(log.end_file(), Some(path.clone()));
    assert_eq!(log.end_file(), None);
    log.write_to(&log.work, &path).unwrap();
    log.notice("a", "four");
    assert!(log.flush(PATIENCE));
    assert_eq!(lines(&path), ["three", "four"], "appended");
    assert_eq!(stderr.text().lines().count(), 5);
    assert_eq!(log.unwritten_to_file(), 0);
    let queues: Vec<_> = log.work.queues().into_iter().map(|queue| queue.name).collect();
    assert_eq!(queues, ["log", "log-file"]);
}

#[test]
fn what_is_no_file_is_refused_and_the_lines_go_where_they_went() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, _) = memory(&unthrottled());
    log.write_to(&log.work, &path).unwrap();
    let nowhere = directory.path().join("none/log");
    assert!(matches!(log.write_to(&log.work, &nowhere), Err(LogFileError::Open { .. })));
    assert!(matches!(log.write_to(&log.work, directory.path()), Err(LogFileError::Open { .. })));
    assert!(matches!(log.write_to(&log.work, Path::new("/dev/null")), Err(LogFileError::Kind(_))));
    assert_eq!(log.file(), Some(path));
}

#[test]
fn a_stuck_output_takes_a_thread_from_nobody() {
    let (_permit, permits) = mpsc::channel();
    let sink = Slow { permits, written: Arc::default() };
    let one = work::Settings { cpus: None, limit: 1, max_threads: 1 };
    let work = WorkQueues::new(&one, Clock::monotonic().thread());
    let log = Log::to_sink(&unthrottled(), &work, || Nanos::ZERO, sink, false).unwrap();
    log.notice("a", "b");
    while work.queues()[0].running == 0 {
        std::thread::yield_now();
    }
    let (sender, receiver) = mpsc::channel();
    let queue = work.system().unwrap();
    queue.run("other", move || sender.send(7).unwrap()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(7));
    queue.flush().unwrap();
    // And the log goes on when all else has ended.
    assert_eq!(work.end(Duration::ZERO), [""; 0]);
    log.notice("a", "c");
    assert_eq!(log.unwritten(), 0);
}

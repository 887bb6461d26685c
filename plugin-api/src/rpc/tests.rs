use std::sync::Arc;

use super::*;

/// What comes of a call that main was given and does `what` with; `None` if it drops it.
fn outcome<R: Send + 'static>(
    what: Option<u32>,
    function: impl FnOnce() -> R + Send + 'static,
) -> (Reply<R>, Status) {
    let (sender, outcome) = sync_channel(1);
    let mut arguments = ManuallyDrop::new(answering(sender, function));
    fn shim<F: FnOnce(u32) -> Status>(_: &F) -> unsafe extern "C" fn(*mut c_void, u32) -> Status {
        run::<F>
    }
    let status = match what {
        // SAFETY: these are the bytes of that function, and they are not used again.
        Some(what) => unsafe { shim(&*arguments)((&raw mut arguments).cast(), what) },
        None => {
            drop(ManuallyDrop::into_inner(arguments));
            Status::OK
        }
    };
    (Reply { outcome, arrived: None }, status)
}

#[test]
fn a_reply_has_what_the_function_returned_or_why_it_did_not() {
    let token = Arc::new(());
    let answer = |what, panics: bool| {
        let held = Arc::clone(&token);
        let (mut reply, status) = outcome(what, move || {
            assert!(!panics, "on purpose");
            Arc::strong_count(&held)
        });
        assert!(reply.is_ready());
        (reply.take().unwrap(), status)
    };
    assert_eq!(answer(Some(CALL_RUN), false), (Ok(2), Status::OK));
    assert_eq!(answer(Some(CALL_RUN), true), (Err(CallError::Panicked), Status::PANICKED));
    assert_eq!(answer(Some(CALL_LATE), false), (Err(CallError::LateWorker), Status::OK));
    assert_eq!(answer(Some(99), false), (Err(CallError::Cancelled), Status::OK));
    assert_eq!(answer(None, false), (Err(CallError::Cancelled), Status::OK));
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_reply_that_is_not_there_is_handed_back() {
    let (sender, outcome) = sync_channel::<Result<u8, _>>(1);
    let mut reply = Reply { outcome, arrived: None };
    assert!(!reply.is_ready());
    let reply = reply.take().unwrap_err();
    sender.send(Ok(3)).unwrap();
    assert_eq!(reply.take().unwrap(), Ok(3));
}

#[test]
fn without_a_host_a_call_is_refused_and_its_function_dropped() {
    let token = Arc::new(());
    let (small, large) = (Arc::clone(&token), (Arc::clone(&token), [0_u8; 256]));
    let host = Host::new(1);
    let refused = |result| matches!(result, Err(CallError::Refused(_)));
    assert!(refused(host.call_main(move || drop(small))));
    assert!(refused(host.main().without_waiting().call(move || drop(large))));
    assert!(refused(host.call_main_wait(|| ())));
    assert_eq!(Arc::strong_count(&token), 1);
}

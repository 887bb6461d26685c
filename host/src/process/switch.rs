//! The switch: one stack is left and another one is entered where that was left.
//!
//! What a context that waits has on its stack, from its stack pointer upwards:
//!
//! ```text
//!             x86-64                       aarch64
//!        ┌──────────────────┐         ┌──────────────────┐
//!        │ rbp              │         │ (alignment)      │
//!        │ rbx              │         │ address to go on │
//!        │ address to go on │         │ x19              │
//!  sp ─▶ └──────────────────┘   sp ─▶ │ x29              │
//!                                     └──────────────────┘
//! ```
//!
//! All other registers are given up by the code around the switch, which the compiler inlines into:
//! it saves only those that it uses. `rbx`, `rbp`, `x19` and `x29` are the compiler's own, which it
//! lets nobody give up. The floating-point control words stay what they are: nobody changes them
//! across a call, by the calling conventions.
//!
//! The other side is entered by a jump, not by a return: a processor predicts a return to go where
//! the last call came from, and that is this stack. With returns a round trip takes twice as long or more
//! (see `benches/process`). It costs that an unwinder does not get from a coroutine's stack to that
//! of whoever resumed it; backtraces end at [`begin`], and no unwinding gets so far.
#![expect(unsafe_code, reason = "exchanges the stack pointer")]

use core::arch::{asm, naked_asm};

/// What a coroutine does first, and never returns from: gets the `argument` of the first switch.
pub(super) type Entry = unsafe extern "C" fn(argument: *const ()) -> !;

/// Leaves this context, storing its stack pointer to `save`, and enters that at `to`; returns when
/// another switch enters this one. `argument` is for the entry of a context that has not begun.
///
/// # Safety
/// `to` is what [`prepare`] gave, or what a switch saved on this thread, and it is used once; the
/// stack that it is on is still there. `save` may be written to, and stays until then.
#[inline(always)]
pub(super) unsafe fn switch(save: *mut *mut u8, to: *mut u8, argument: *const ()) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every register that the other side may change is given up or restored; the compiler
    // knows of no red zone and sees all of memory change.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "push rbp",
            "push rbx",
            "push rax",
            "mov [rsi], rsp",
            "mov rsp, rdx",
            "pop rax",
            "pop rbx",
            "pop rbp",
            "jmp rax",
            "2:",
            inlateout("rdi") argument => _,
            inlateout("rsi") save => _,
            inlateout("rdx") to => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!(
            "adr x3, 2f",
            "stp x29, x19, [sp, #-32]!",
            "str x3, [sp, #16]",
            "mov x4, sp",
            "str x4, [x1]",
            "mov sp, x2",
            "ldr x3, [sp, #16]",
            "ldp x29, x19, [sp], #32",
            "br x3",
            "2:",
            inlateout("x0") argument => _,
            inlateout("x1") save => _,
            inlateout("x2") to => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _,
            lateout("x24") _, lateout("x25") _, lateout("x26") _, lateout("x27") _,
            lateout("x28") _,
            clobber_abi("C"),
        );
    }
}

/// Writes what a context that waits has on its stack below `top`, such that the first switch to the
/// pointer returned calls `entry`.
///
/// # Safety
/// `top` is aligned to 16, and the 64 bytes below it may be written to.
pub(super) unsafe fn prepare(top: *mut u8, entry: Entry) -> *mut u8 {
    // The words at the top are for `begin`: `entry`, and one for alignment.
    let begin: unsafe extern "C" fn() = begin;
    #[cfg(target_arch = "x86_64")]
    let words = [begin as usize, 0, 0, entry as usize, 0, 0];
    #[cfg(target_arch = "aarch64")]
    let words = [0, 0, begin as usize, 0, entry as usize, 0];
    let sp = top.wrapping_sub(size_of_val(&words));
    // SAFETY: the caller lets these be written to, and they are aligned.
    unsafe { sp.cast::<[usize; 6]>().write(words) };
    sp
}

/// Calls the entry with the argument of the first switch. The end of all backtraces: no frame
/// pointer and no return address lead on.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn begin() {
    // The stack pointer is 24 below the top, which is aligned to 16.
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "pop rax",
        "call rax",
        "ud2",
        ".cfi_endproc",
    );
}

/// As above.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn begin() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        "ldr x3, [sp], #16",
        "blr x3",
        "brk #1",
        ".cfi_endproc",
    );
}

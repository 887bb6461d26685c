//! Bodies in a shared object, and the peer that switches by `setjmp` and `longjmp`: compiled here.
#![expect(unsafe_code, reason = "calls what it compiled")]

use std::{ffi::c_void, fs, path::Path, process::Command};

use libloading::Library;

/// What a body suspends itself with: gives a value, is given one.
pub(crate) type Suspend = unsafe extern "C" fn(*const c_void, u64) -> u64;
/// An endless body.
pub(crate) type Body = unsafe extern "C" fn(Suspend, *const c_void);

const BODY: &str = r"
#include <stdint.h>
void body(uint64_t (*suspend)(const void *, uint64_t), const void *context)
{
    for (uint64_t value = 0;;)
        value = suspend(context, value) + 1;
}
";

/// The callee-saved registers of a context: rbx rbp r12 r13 r14 r15 rsp rip, or x19 to x30, sp and
/// d8 to d15.
const PEER: &str = r#"
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
typedef uint64_t registers[24];
int save(registers at) __attribute__((returns_twice));
void restore(registers at) __attribute__((noreturn));
void call_on(void *stack, void (*function)(void *), void *argument);
#if defined(__x86_64__)
__asm__(".text\n.p2align 4\n.globl save\n.type save,@function\nsave:\n"
    "mov %rbx, (%rdi)\nmov %rbp, 8(%rdi)\nmov %r12, 16(%rdi)\nmov %r13, 24(%rdi)\n"
    "mov %r14, 32(%rdi)\nmov %r15, 40(%rdi)\nlea 8(%rsp), %rdx\nmov %rdx, 48(%rdi)\n"
    "mov (%rsp), %rdx\nmov %rdx, 56(%rdi)\nxor %eax, %eax\nret\n"
    ".p2align 4\n.globl restore\n.type restore,@function\nrestore:\n"
    "mov (%rdi), %rbx\nmov 8(%rdi), %rbp\nmov 16(%rdi), %r12\nmov 24(%rdi), %r13\n"
    "mov 32(%rdi), %r14\nmov 40(%rdi), %r15\nmov 48(%rdi), %rsp\nmov $1, %eax\njmp *56(%rdi)\n"
    ".p2align 4\n.globl call_on\n.type call_on,@function\ncall_on:\n"
    "push %rbp\nmov %rsp, %rbp\nmov %rdi, %rsp\nmov %rdx, %rdi\ncall *%rsi\n"
    "mov %rbp, %rsp\npop %rbp\nret\n");
#elif defined(__aarch64__)
__asm__(".text\n.p2align 4\n.globl save\n.type save,@function\nsave:\n"
    "stp x19, x20, [x0]\nstp x21, x22, [x0, #16]\nstp x23, x24, [x0, #32]\n"
    "stp x25, x26, [x0, #48]\nstp x27, x28, [x0, #64]\nstp x29, x30, [x0, #80]\n"
    "mov x2, sp\nstr x2, [x0, #96]\nstp d8, d9, [x0, #112]\nstp d10, d11, [x0, #128]\n"
    "stp d12, d13, [x0, #144]\nstp d14, d15, [x0, #160]\nmov x0, #0\nret\n"
    ".p2align 4\n.globl restore\n.type restore,@function\nrestore:\n"
    "ldp x19, x20, [x0]\nldp x21, x22, [x0, #16]\nldp x23, x24, [x0, #32]\n"
    "ldp x25, x26, [x0, #48]\nldp x27, x28, [x0, #64]\nldp x29, x30, [x0, #80]\n"
    "ldr x2, [x0, #96]\nmov sp, x2\nldp d8, d9, [x0, #112]\nldp d10, d11, [x0, #128]\n"
    "ldp d12, d13, [x0, #144]\nldp d14, d15, [x0, #160]\nmov x0, #1\nbr x30\n"
    ".p2align 4\n.globl call_on\n.type call_on,@function\ncall_on:\n"
    "stp x29, x30, [sp, #-16]!\nmov x29, sp\nmov sp, x0\nmov x0, x2\nblr x1\n"
    "mov sp, x29\nldp x29, x30, [sp], #16\nret\n");
#endif
typedef uint64_t (*suspend_function)(const void *, uint64_t);
struct process {
    registers resume, ret;
    uint64_t in, out;
    void *stack;
    void (*body)(suspend_function, const void *);
    int started;
};
static uint64_t process_suspend(const void *context, uint64_t value)
{
    struct process *p = (struct process *)context;
    p->out = value;
    if (!save(p->resume))
        restore(p->ret);
    return p->in;
}
void body_inline(suspend_function unused, const void *context)
{
    (void)unused;
    for (uint64_t value = 0;;) {
        struct process *p = (struct process *)context;
        p->out = value;
        if (!save(p->resume))
            restore(p->ret);
        value = p->in + 1;
    }
}
static void begin(void *argument)
{
    struct process *p = argument;
    p->body(process_suspend, p);
    abort();
}
struct process *process_new(void (*body)(suspend_function, const void *), uint64_t bytes)
{
    struct process *p = calloc(1, sizeof *p);
    char *stack = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!p || stack == MAP_FAILED)
        abort();
    p->stack = stack + bytes;
    p->body = body;
    return p;
}
uint64_t process_resume(struct process *p, uint64_t value)
{
    p->in = value;
    if (!save(p->ret)) {
        if (p->started)
            restore(p->resume);
        p->started = 1;
        call_on(p->stack, begin, p);
    }
    return p->out;
}
"#;

/// What was compiled; stays loaded.
pub(crate) struct Fixture {
    pub(crate) body: Body,
    pub(crate) body_inline: Body,
    peer_new: unsafe extern "C" fn(Body, u64) -> *mut c_void,
    peer_resume: unsafe extern "C" fn(*mut c_void, u64) -> u64,
}

/// A process of the peer's.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    process: *mut c_void,
    resume: unsafe extern "C" fn(*mut c_void, u64) -> u64,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let body = build(directory.path(), "body", BODY);
        let peer = build(directory.path(), "peer", PEER);
        Self {
            body: symbol(body, "body"),
            body_inline: symbol(peer, "body_inline"),
            peer_new: symbol(peer, "process_new"),
            peer_resume: symbol(peer, "process_resume"),
        }
    }

    pub(crate) fn peer(&self, body: Body) -> Peer {
        // SAFETY: as declared in the source above.
        let process = unsafe { (self.peer_new)(body, 32 << 10) };
        Peer { process, resume: self.peer_resume }
    }
}

impl Peer {
    #[inline]
    pub(crate) fn resume(self, value: u64) -> u64 {
        // SAFETY: as declared in the source above; its body is endless.
        unsafe { (self.resume)(self.process, value) }
    }
}

fn build(directory: &Path, name: &str, source: &str) -> &'static Library {
    let file = directory.join(name).with_extension("c");
    let object = directory.join(format!("lib{name}.so"));
    fs::write(&file, source).expect("a file of ours");
    let built = Command::new("gcc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&object, &file])
        .status()
        .expect("gcc is installed");
    assert!(built.success(), "gcc does not compile {name}.c");
    // SAFETY: it has no constructors.
    let library = unsafe { Library::new(&object) }.expect("it was just built");
    Box::leak(Box::new(library))
}

fn symbol<T: Copy>(library: &'static Library, name: &str) -> T {
    // SAFETY: the types are those of the sources above.
    *unsafe { library.get::<T>(name) }.expect("it is in the source above")
}

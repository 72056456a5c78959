# 64-bit addresses, interrupts off, no address translation. Nothing is passed.

.section .text.entry, "ax"
.globl entry
entry:
    larl    %r15, stack_end - 160
    lghi    %r2, 0
    brasl   %r14, bare_start

# Where the processor goes for a program interruption.
.globl bare_program_interruption
.balign 8
bare_program_interruption:
    larl    %r15, stack_end - 160
    brasl   %r14, bare_trap

# Waits for an external interruption, or for an I/O interruption. Either leads to bare_interruption.
.globl bare_wait_external
.globl bare_wait_io
.globl bare_interruption
.balign 8
bare_wait_external:
    larl    %r1, external
    lpswe   0(%r1)
bare_wait_io:
    larl    %r1, io
    lpswe   0(%r1)
bare_interruption:
    br      %r14

.section .rodata.waiting, "a"
.balign 8
external:
    .quad   0x0102000180000000, 0               # external interruptions, wait state, 64-bit addresses
io:
    .quad   0x0202000180000000, 0               # I/O interruptions, the rest likewise

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   64 << 10
stack_end:

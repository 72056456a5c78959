# The PVH entry: 32-bit protected mode, no paging, interrupts off. ebx: address of the start information.

.section .note.pvh, "a", @note
    .long   4, 4, 18                            # lengths of name and description, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  "Xen"
    .long   entry

.section .text.entry, "ax"
.code32
.globl entry
entry:
    cli
    cld
    movl    %ebx, %edi
    movl    %cr4, %eax
    orl     $(1 << 5 | 1 << 9 | 1 << 10), %eax  # PAE, and SSE with its exceptions
    movl    %eax, %cr4
    movl    $page_map, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx                   # EFER: long mode
    rdmsr
    orl     $(1 << 8), %eax
    wrmsr
    movl    %cr0, %eax
    andl    $~(1 << 2), %eax                    # there is a floating-point unit
    orl     $(1 << 31 | 1 << 1), %eax           # paging
    movl    %eax, %cr0
    lgdt    segments_pointer
    ljmp    $8, $long_mode

.code64
long_mode:
    xorl    %eax, %eax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    %ax, %fs
    movw    %ax, %gs
    movl    %edi, %edi
    movq    $stack_end, %rsp
    xorl    %ebp, %ebp
    call    bare_start

# An entry of 16 bytes for each exception; those without an error code get one.
.globl bare_exceptions
.balign 16
bare_exceptions:
.set vector, 0
.rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq   $0
    .endif
    pushq   $vector
    jmp     exception
    .set vector, vector + 1
.endr

exception:
    popq    %rdi
    popq    %rsi
    popq    %rdx
    movq    %cr2, %rcx
    movq    $stack_end, %rsp
    call    bare_trap

# An entry of 32 bytes for each message: notes it, and tells the local APIC that it is done.
.globl bare_message_handlers
.balign 32
bare_message_handlers:
.set message, 0
.rept 16
    .balign 32
    lock btsl $message, bare_messages
    pushq   %rax
    movl    $0xfee000b0, %eax
    movl    $0, (%rax)
    popq    %rax
    iretq
    .set message, message + 1
.endr

.globl bare_spurious_handler
bare_spurious_handler:
    iretq

.section .data.tables, "aw"
.balign 8
segments:
    .quad   0
    .quad   0x00af9b000000ffff                  # 64-bit code
segments_end:
segments_pointer:
    .word   segments_end - segments - 1
    .long   segments

# Everything is mapped to where it is: 3 GiB as memory and 1 GiB, where PCs have devices, as devices.
.equ PRESENT_WRITABLE,  3
.equ LARGE,             1 << 7
.equ UNCACHED,          1 << 3 | 1 << 4
.balign 4096
page_map:
    .quad   page_directories + PRESENT_WRITABLE
    .fill   511, 8, 0
page_directories:
    .quad   page_tables + PRESENT_WRITABLE, page_tables + 4096 + PRESENT_WRITABLE
    .quad   page_tables + 8192 + PRESENT_WRITABLE, page_tables + 12288 + PRESENT_WRITABLE
    .fill   508, 8, 0
page_tables:
.set page, 0
.rept 1536
    .quad   page << 21 | PRESENT_WRITABLE | LARGE
    .set page, page + 1
.endr
.rept 512
    .quad   page << 21 | PRESENT_WRITABLE | LARGE | UNCACHED
    .set page, page + 1
.endr

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   64 << 10
stack_end:

/**
 * The filter of system calls (seccomp, classic BPF) around a build. Apptainer itself needs `mount`,
 * `unshare` and user namespaces, so those stay; what goes is what no build needs and what has opened
 * kernels before: keyrings, BPF, performance events, userfaultfd, io_uring, modules, tracing, all sockets
 * that a network namespace does not hold back or that speak raw packets, and network namespaces of the
 * build's own, in which it could play with the tables of the packet filter.
 */

interface Architecture {
  /** AUDIT_ARCH_… of linux/audit.h. */
  readonly audit: number
  readonly socket: number
  readonly socketpair: number
  readonly clone: number
  readonly unshare: number
  /** Calls of another ABI of the same architecture start here (x32). */
  readonly otherAbiFrom: number | undefined
  readonly denied: Readonly<Record<string, number>>
}

// The numbers of io_uring and later calls are the same everywhere.
const everywhere = {
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  pidfd_getfd: 438,
  memfd_secret: 447,
}

const architectures: Readonly<Record<string, Architecture>> = {
  x64: {
    audit: 0xc000003e,
    socket: 41,
    socketpair: 53,
    clone: 56,
    unshare: 272,
    otherAbiFrom: 0x40000000,
    denied: {
      ...everywhere,
      ptrace: 101,
      syslog: 103,
      vhangup: 153,
      adjtimex: 159,
      acct: 163,
      settimeofday: 164,
      swapon: 167,
      swapoff: 168,
      reboot: 169,
      iopl: 172,
      ioperm: 173,
      init_module: 175,
      delete_module: 176,
      quotactl: 179,
      nfsservctl: 180,
      lookup_dcookie: 212,
      clock_settime: 227,
      kexec_load: 246,
      add_key: 248,
      request_key: 249,
      keyctl: 250,
      move_pages: 279,
      perf_event_open: 298,
      fanotify_init: 300,
      open_by_handle_at: 304,
      clock_adjtime: 305,
      process_vm_readv: 310,
      process_vm_writev: 311,
      kcmp: 312,
      finit_module: 313,
      kexec_file_load: 320,
      bpf: 321,
      userfaultfd: 323,
    },
  },
  arm64: {
    audit: 0xc00000b7,
    socket: 198,
    socketpair: 199,
    clone: 220,
    unshare: 97,
    otherAbiFrom: undefined,
    denied: {
      ...everywhere,
      lookup_dcookie: 18,
      nfsservctl: 42,
      vhangup: 58,
      quotactl: 60,
      acct: 89,
      kexec_load: 104,
      init_module: 105,
      delete_module: 106,
      clock_settime: 112,
      syslog: 116,
      ptrace: 117,
      reboot: 142,
      settimeofday: 170,
      adjtimex: 171,
      add_key: 217,
      request_key: 218,
      keyctl: 219,
      swapon: 224,
      swapoff: 225,
      move_pages: 239,
      perf_event_open: 241,
      fanotify_init: 262,
      open_by_handle_at: 265,
      clock_adjtime: 266,
      process_vm_readv: 270,
      process_vm_writev: 271,
      kcmp: 272,
      finit_module: 273,
      bpf: 280,
      userfaultfd: 282,
      kexec_file_load: 294,
    },
  },
}

// linux/bpf_common.h, linux/seccomp.h, linux/socket.h
const load = 0x20
const and = 0x54
const jumpIfEqual = 0x15
const jumpIfAtLeast = 0x35
const jumpIfAnyBit = 0x45
const answer = 0x06
const allow = 0x7fff0000
const refuseWith = (errno: number): number => 0x00050000 | errno
const errno = { permission: 1, noSuchCall: 38, noSuchFamily: 97 }
const family = { unix: 1, internet: 2, internet6: 10, netlink: 16 }
const socketType = { mask: 0xf, raw: 3, packet: 10 }
/** CLONE_NEWTIME (in unshare; an exit signal of clone never has that bit), CLONE_NEWCGROUP and CLONE_NEWNET of linux/sched.h. */
const deniedNamespaces = 0x00000080 | 0x02000000 | 0x40000000
/** Its flags are in memory, where no filter sees them; libraries then use `clone`. */
const clone3 = 435
/** Offsets in struct seccomp_data; the low half of an argument comes first on both architectures. */
const at = { call: 0, architecture: 4, argument0: 16, argument1: 24 }

/** The program as the kernel takes it, one `struct sock_filter` of eight bytes after the other. */
export function systemCallFilter(arch: string = process.arch): Buffer {
  const known = architectures[arch]
  if (known === undefined) {
    throw new Error(`There is no filter of system calls for ${arch}: this host cannot build.`)
  }
  const program: Buffer[] = []
  const emit = (code: number, value: number, ifTrue = 0, ifFalse = 0): void => {
    const instruction = Buffer.alloc(8)
    instruction.writeUInt16LE(code, 0)
    instruction.writeUInt8(ifTrue, 2)
    instruction.writeUInt8(ifFalse, 3)
    instruction.writeUInt32LE(value >>> 0, 4)
    program.push(instruction)
  }
  /** Leaves with `result` when the loaded value compares; goes on otherwise. */
  const leaveWhen = (code: number, value: number, result: number): void => {
    emit(code, value, 0, 1)
    emit(answer, result)
  }

  emit(load, at.architecture)
  emit(jumpIfEqual, known.audit, 1, 0)
  emit(answer, refuseWith(errno.noSuchCall))
  emit(load, at.call)
  if (known.otherAbiFrom !== undefined) {
    leaveWhen(jumpIfAtLeast, known.otherAbiFrom, refuseWith(errno.noSuchCall))
  }
  for (const number of Object.values(known.denied)) {
    leaveWhen(jumpIfEqual, number, refuseWith(errno.permission))
  }
  leaveWhen(jumpIfEqual, clone3, refuseWith(errno.noSuchCall))
  // Over the four instructions that look at the flags of `unshare` and `clone`.
  emit(jumpIfEqual, known.unshare, 1, 0)
  emit(jumpIfEqual, known.clone, 0, 4)
  emit(load, at.argument0)
  leaveWhen(jumpIfAnyBit, deniedNamespaces, refuseWith(errno.permission))
  emit(answer, allow)
  // Two jumps over the "allow" for everything that makes no socket.
  emit(jumpIfEqual, known.socket, 2, 0)
  emit(jumpIfEqual, known.socketpair, 1, 0)
  emit(answer, allow)
  emit(load, at.argument0)
  leaveWhen(jumpIfEqual, family.unix, allow)
  leaveWhen(jumpIfEqual, family.netlink, allow)
  emit(jumpIfEqual, family.internet, 2, 0)
  emit(jumpIfEqual, family.internet6, 1, 0)
  emit(answer, refuseWith(errno.noSuchFamily))
  emit(load, at.argument1)
  emit(and, socketType.mask)
  leaveWhen(jumpIfEqual, socketType.raw, refuseWith(errno.permission))
  leaveWhen(jumpIfEqual, socketType.packet, refuseWith(errno.permission))
  emit(answer, allow)
  return Buffer.concat(program)
}

/**
 * What a build sees of the file system: /usr of the builder host (or of a root of its own) and the few
 * files in /etc without which Apptainer and the C library do not start, all read-only, a /proc and a
 * /dev of its own, and one writable place, /build, that is as large as its limit and ends with it.
 */
import { existsSync, lstatSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'

import type { BuildLimits } from './settings.ts'

/** What is bound from the root's /etc when it is there: nothing in it says anything of the host. */
const fromEtc = [
  'alternatives',
  'ca-certificates',
  'ca-certificates.conf',
  'crypto-policies',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'pki/ca-trust',
  'pki/tls',
  'ssl/certs',
  'ssl/openssl.cnf',
]

/** Programs that are made of their content, before all others in the PATH of a build. */
export const programDirectory = '/.berth/bin'

const shmBytes = 64 * 2 ** 20

/** The mounts as arguments of bwrap; `files` are made of their content, by inside path. */
export function mountArguments(
  root: string,
  limits: BuildLimits,
  files: ReadonlyMap<string, string | Buffer>,
  firstDescriptor: number,
): string[] {
  const mounts = ['--perms', '0755', '--dir', '/etc', '--ro-bind', join(root, 'usr'), '/usr']
  for (const name of ['bin', 'sbin', 'lib', 'lib32', 'lib64']) {
    const path = join(root, name)
    if (!existsSync(path)) continue
    const target = lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined
    if (target === undefined) mounts.push('--ro-bind', path, `/${name}`)
    else mounts.push('--symlink', target.replace(/^\//, ''), `/${name}`)
  }
  for (const name of fromEtc) {
    if (existsSync(join(root, 'etc', name))) {
      mounts.push('--ro-bind', join(root, 'etc', name), `/etc/${name}`)
    }
  }
  let descriptor = firstDescriptor
  for (const path of files.keys()) {
    const mode = path.startsWith(programDirectory) ? '0755' : '0644'
    mounts.push('--perms', mode, '--file', String(descriptor), path)
    descriptor += 1
  }
  return [
    ...mounts,
    // Apptainer wants to see these, even empty.
    ...['/sys', '/var/lib/apptainer/mnt/session', '/var/lib/singularity/mnt/session'].flatMap(
      (directory) => ['--dir', directory],
    ),
    '--dir /tmp --dir /var/tmp --proc /proc --dev /dev',
    `--perms 1777 --size ${shmBytes} --tmpfs /dev/shm --remount-ro /dev`,
    `--perms 0755 --size ${limits.scratchBytes} --tmpfs /build --remount-ro /`,
  ].flatMap((words) => (words.startsWith('--') ? words.split(' ') : words))
}

/** The files of /etc that are written anew for every build. */
export function etcFiles(uids: number, program: string): Map<string, string> {
  const name = basename(program)
  const ids = `root:0:${uids}\n`
  return new Map([
    ['/etc/passwd', 'root:x:0:0:root:/build/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n'],
    ['/etc/group', 'root:x:0:\nnogroup:x:65534:\n'],
    ['/etc/hosts', '127.0.0.1 localhost build\n'],
    ['/etc/resolv.conf', '# Names are resolved by the proxy outside.\n'],
    ['/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files\n'],
    ['/etc/subuid', ids],
    ['/etc/subgid', ids],
    // Empty: its defaults, and nothing of the host's.
    [`/etc/${name}/${name}.conf`, ''],
  ])
}

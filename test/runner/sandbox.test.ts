/** The sandbox itself: its self-test, two at a time, and what comes out of it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'node:test'

import { receiveImage } from '../../server/runner/image-file.ts'
import { openSandbox } from '../../server/runner/sandbox.ts'
import type { Sandbox, SandboxOptions } from '../../server/runner/sandbox.ts'
import { readRunnerSettings } from '../../server/runner/settings.ts'
import { openWorkDirectory } from '../../server/runner/work-directory.ts'
import { findApptainerRoot } from '../clients/apptainer-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'

const skip = withoutBubblewrap()
const root = findApptainerRoot() ?? ''
let count = 0

interface Opened {
  readonly sandbox: Sandbox
  readonly scratchDir: string
  readonly work: string
}

async function open(
  t: test.TestContext,
  command: string,
  options: Partial<SandboxOptions> = {},
): Promise<Opened> {
  const scratchDir = mkdtempSync(join(tmpdir(), 'berth-sandbox-'))
  t.after(() => rmSync(scratchDir, { recursive: true, force: true }))
  const work = await openWorkDirectory(scratchDir)
  const settings = { ...readRunnerSettings(undefined), root, scratchDir }
  const limits = {
    seconds: 60,
    cpus: 1,
    memoryBytes: 2 ** 29,
    processes: 100,
    scratchBytes: 2 ** 26,
    outputBytes: 2 ** 20,
    imageBytes: 2 ** 23,
  }
  count += 1
  const name = `berth-test-${process.pid}-${count}`
  const sandbox = await openSandbox({
    settings,
    limits,
    name,
    command,
    workDirectory: work.path,
    ...options,
  })
  t.after(async () => await sandbox.kill())
  return { sandbox, scratchDir, work: work.path }
}

const odd: readonly (readonly [name: string, lines: string, fault: RegExp | number])[] = [
  ['nothing', 'true', /left no image/],
  ['an empty file', ': > /build/image.sif', /left no image/],
  ['something else', 'echo no image > /build/image.sif', /not a SIF image/],
  ['too much', 'head -c 9437184 /dev/zero > /build/image.sif', /larger than/],
  ['a sparse file of a terabyte', 'truncate -s 60M /build/image.sif', /larger than/],
  ['a symbolic link', 'ln -s /usr/bin/busybox /build/image.sif', 1],
  ['a link to nowhere', 'ln -s /etc/shadow /build/image.sif', 1],
  ['a pipe', 'mkfifo /build/image.sif', 1],
  ['a directory', 'mkdir /build/image.sif', 1],
  ['a failure beside an image', 'echo SIF > /build/image.sif; exit 7', 7],
]

for (const [name, lines, expected] of odd) {
  test(`B9 ${name} is no result`, { skip }, async (t) => {
    const { sandbox, work } = await open(t, lines)
    sandbox.output.resume()
    const [image, { status }] = await Promise.all([
      receiveImage(sandbox.image, work, 2 ** 23),
      sandbox.ended,
    ])
    if (typeof expected === 'number') assert.equal(status, expected)
    else assert.match(image.fault ?? '', expected)
  })
}

test('B10 two builds at a time see nothing of each other', { skip }, async (t) => {
  const leave = [
    'echo secret-of-the-first > /tmp/shared; echo secret-of-the-first > /dev/shm/shared',
    'echo secret-of-the-first > /build/cache/shared; ipcmk -M 1000 >/dev/null',
    `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("\\0first")); listen(S, 1); $| = 1; print "ready\\n"; sleep 60'`,
  ].join('\n')
  const first = await open(t, leave)
  await new Promise<void>((resolve) => first.sandbox.output.once('data', () => resolve()))
  const look = [
    'cat /tmp/shared /dev/shm/shared /build/cache/shared 2>/dev/null',
    'ipcs -m | grep -q root && echo segment',
    `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un("\\0first")) and print "socket\\n"'`,
    'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -q "[A]F_UNIX.*listen" && echo process',
    'echo end',
  ].join('\n')
  const second = await open(t, look)
  second.sandbox.image.resume()
  assert.equal(await text(second.sandbox.output), 'end\n')
  const uids = [first, second].map(({ sandbox }) => sandbox.report[0])
  if (process.getuid?.() === 0) assert.notEqual(uids[0], uids[1])
  await first.sandbox.kill()
})

test('at the end nothing is left but the work directory', { skip }, async (t) => {
  const { sandbox, scratchDir } = await open(t, 'echo > /build/tmp/x')
  sandbox.image.resume()
  sandbox.output.resume()
  assert.equal((await sandbox.ended).status, 0)
  const left = readdirSync(scratchDir)
  assert.equal(left.length, 1)
  assert.deepEqual(readdirSync(join(scratchDir, left[0] ?? '')), [])
})

test('without walls there is no build', { skip }, async (t) => {
  // A root that has no bwrap within reach of it, and files that the self-test must not find.
  for (const [path, reason] of [
    ['/root/berth', /\/root of the host is seen/],
    ['/etc/shadow', /\/etc\/shadow of the host is seen/],
  ] as const) {
    await assert.rejects(open(t, 'true', { files: new Map([[path, 'x']]) }), reason)
  }
})

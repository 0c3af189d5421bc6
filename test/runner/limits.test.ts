/** What a build may take: bombs, floods, hangs and odd results end inside their own limits (B5 to B7). */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'

import { findApptainerRoot } from '../clients/apptainer-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { runJob } from '../support/runner-peer.ts'
import type { EndedJob, JobOptions } from '../support/runner-peer.ts'

const skip = withoutBubblewrap()
const root = findApptainerRoot() ?? ''
const MiB = 2 ** 20
/** In the command line of a process that must not be left. */
const marker = `31${process.pid}`

async function attack(
  t: test.TestContext,
  setup: readonly string[],
  options: Omit<JobOptions, 'definition' | 'root'> = {},
): Promise<EndedJob> {
  const copy = ['mkdir -p "$APPTAINER_ROOTFS/bin"', 'cp /bin/busybox "$APPTAINER_ROOTFS/bin/sh"']
  const lines = [...copy, ...setup].map((line) => `  ${line}`)
  const definition = ['Bootstrap: scratch', '%setup', ...lines, ''].join('\n')
  const ended = await runJob(t, { root, ...options, definition })
  assert.equal(ended.status, 0, ended.log)
  assert.deepEqual(leftovers(ended), [], 'something is left on the host')
  return ended
}

const small = { memoryBytes: 256 * MiB, scratchBytes: 64 * MiB, processes: 64 }

interface Bomb {
  readonly name: string
  readonly setup: readonly string[]
  readonly ends: RegExp
}

const bombs: readonly Bomb[] = [
  {
    name: 'B5 a fork bomb',
    setup: [`bomb() { bomb | bomb & }; bomb; sleep ${marker}`],
    ends: /took longer|failed with|was killed/,
  },
  {
    name: 'B5 a bomb of memory',
    setup: [`perl -e 'push @all, "x" x 1048576 while 1'`],
    ends: /failed with|was killed/,
  },
  {
    name: 'B5 a bomb of memory in many processes',
    setup: [
      `for n in 1 2 3 4 5 6 7 8; do perl -e '$x = "x" x 134217728; sleep ${marker}' & done; wait; false`,
    ],
    ends: /failed with|was killed|took longer/,
  },
  {
    name: 'B5 a file that fills the scratch',
    setup: ['dd if=/dev/zero of=/build/tmp/full bs=1M count=4096'],
    ends: /failed with/,
  },
  {
    name: 'B5 a file of a terabyte',
    setup: ['fallocate -l 1T /build/tmp/full'],
    ends: /failed with/,
  },
  {
    name: 'B5 shared memory that is filled',
    setup: ['dd if=/dev/zero of=/dev/shm/full bs=1M count=4096'],
    ends: /failed with|was killed/,
  },
  {
    name: 'B5 a file system in memory of its own',
    setup: ['mount -t tmpfs -o size=100% tmpfs /build/tmp; dd if=/dev/zero of=/build/tmp/x bs=1M'],
    ends: /failed with|was killed/,
  },
  {
    name: 'B5 a million files',
    setup: [`perl -e 'for (1..1000000) { open(F, ">", "/build/tmp/$_") or die }'`],
    ends: /failed with|was killed|took longer/,
  },
  { name: 'B5 a loop that never ends', setup: ['while :; do :; done'], ends: /took longer/ },
  {
    name: 'B7 a hang that ignores signals',
    setup: [`trap "" TERM INT HUP QUIT; while :; do sleep ${marker}; done`],
    ends: /took longer/,
  },
  {
    name: 'B7 a process that stops itself',
    setup: ['kill -STOP $$; kill -STOP $PPID'],
    ends: /took longer/,
  },
]

for (const { name, setup, ends } of bombs) {
  test(`${name} ends in its limits`, { skip }, async (t) => {
    const before = Date.now()
    const ended = await attack(t, setup, { limits: { ...small, seconds: 10 } })
    assert.equal(ended.state, 'failed', ended.output.slice(-2000))
    assert.match(ended.reason, ends)
    assert.ok(Date.now() - before < 25_000, 'it took too long to end')
    assert.ok(ended.longestSilenceMs < 5000, `no heartbeat for ${ended.longestSilenceMs} ms`)
  })
}

test('B7 a daemon that left its parents ends with the build', { skip }, async (t) => {
  const ended = await attack(t, [
    `(setsid sh -c 'setsid sleep ${marker} >/dev/null 2>&1 </dev/null &' &)`,
  ])
  assert.equal(ended.state, 'succeeded', ended.reason)
})

for (const how of ['the server', 'SIGTERM'] as const) {
  test(`B7 a cancel by ${how} ends everything within ten seconds`, { skip }, async (t) => {
    let cancelledAt = 0
    const ended = await attack(
      t,
      [
        `trap "" TERM INT; echo going; (setsid sleep ${marker} &); while :; do sleep ${marker}; done`,
      ],
      {
        when: {
          text: '\ngoing\n',
          act: (run) => {
            cancelledAt = Date.now()
            if (how === 'SIGTERM') run.runner.kill('SIGTERM')
            else run.cancel()
          },
        },
      },
    )
    assert.equal(ended.state, 'cancelled')
    assert.ok(Date.now() - cancelledAt < 10_000)
    assert.deepEqual(processesWith(marker), [])
  })
}

test('B7 the death of the runner is that of its build', { skip }, async (t) => {
  const ended = await runJob(t, {
    root,
    definition: `Bootstrap: scratch\n%setup\n  echo going; while :; do sleep ${marker}; done\n`,
    when: { text: '\ngoing\n', act: (run) => run.runner.kill('SIGKILL') },
  })
  assert.equal(ended.state, 'untold')
  const deadline = Date.now() + 10_000
  while (processesWith(marker).length > 0 && Date.now() < deadline) await delay(50)
  assert.deepEqual(processesWith(marker), [])
})

test('B6 output without end is cut, and the build goes on', { skip }, async (t) => {
  const ended = await attack(
    t,
    ['set +x', 'head -c 8388608 /dev/zero | tr "\\0" x', 'head -c 8388608 /dev/urandom'],
    { limits: { outputBytes: 4 * MiB } },
  )
  assert.equal(ended.state, 'succeeded', ended.reason)
  assert.equal(ended.output.slice(-13), '\n[truncated]\n')
  // The report of the walls is the runner's, and not counted.
  assert.ok(ended.output.length <= 4 * MiB + 4096)
})

test('B6 bytes that are no text come as they are', { skip }, async (t) => {
  const ended = await attack(t, ['set +x', `printf '\\033[31mred\\033[0m\\a\\n'`])
  assert.ok(ended.output.includes('\u001b[31mred\u001b[0m\u0007\n'))
})

/** Processes of the host whose command line has the text. */
function processesWith(what: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(what)
      } catch {
        return false
      }
    })
}

function leftovers(ended: EndedJob): string[] {
  return [
    ...readdirSync(ended.scratchDir).filter((name) => name !== 'runner.toml'),
    ...processesWith(marker),
    ...processesWith(ended.scratchDir),
  ]
}

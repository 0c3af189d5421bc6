/** Real builds: the runner drives the real Apptainer in its sandbox, and the image is run. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { makeImage, writeLayout } from '../support/oci-image.ts'
import { runJob } from '../support/runner-peer.ts'
import type { EndedJob, JobOptions } from '../support/runner-peer.ts'
import { startServer } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'
import type { Apptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap()
/** Only root can become somebody else. */
const notRoot = process.getuid?.() === 0 ? false : 'only root can become another account'

const busybox = [
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin" "$APPTAINER_ROOTFS/etc"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh cat ls id touch chown stat; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
]

test('scratch, with all its sections, in a sandbox', { skip }, async (t) => {
  const context = contextOf(t, {
    'home/alice/data/one.txt': 'one\n',
    'srv/two.txt': 'two\n',
    'srv/three.txt': 'three\n',
    'etc/passwd': 'the submitter has this file\n',
  })
  const ended = await build(t, {
    context,
    definition: [
      'Bootstrap: scratch',
      'Stage: first',
      ...busybox,
      '%post',
      '  echo made > /made',
      '',
      'Bootstrap: scratch',
      'Stage: last',
      ...busybox,
      '%files from first',
      '  /made /from-first',
      '%files',
      '  data/one.txt /relative.txt',
      '  /srv/two.txt /absolute.txt',
      '  /srv/three.txt',
      '  /etc/passwd /theirs',
      '%post',
      '  id -u; touch /owned; chown 12:34 /owned',
      '  echo "it\'s built" > /greeting',
      '%test',
      '  cat /greeting',
      '%runscript',
      '  cat /greeting /from-first /relative.txt /absolute.txt /srv/three.txt /theirs',
    ].join('\n'),
  })
  assert.equal(
    await runImage(t, ended, 'run'),
    "it's built\nmade\none\ntwo\nthree\nthe submitter has this file\n",
  )
  assert.match(ended.output, /Running testscript\n(?:.*\n)?it's built\n/)
})

test('a test section that fails fails the build', { skip }, async (t) => {
  const ended = await runJob(t, {
    root,
    definition: ['Bootstrap: scratch', ...busybox, '%test', '  exit 3'].join('\n'),
  })
  assert.equal(ended.state, 'failed', ended.output)
  assert.match(ended.reason, /failed with status/)
  assert.equal(ended.image, undefined)
  assert.equal(ended.status, 0)
})

test('localimage from the context, and from nowhere else', { skip }, async (t) => {
  const base = await build(t, { definition: ['Bootstrap: scratch', ...busybox].join('\n') })
  const context = contextOf(t, { 'home/alice/base.sif': base.image ?? '' })
  for (const from of ['base.sif', './base.sif', '/home/alice/base.sif']) {
    const ended = await build(t, {
      context,
      definition: `Bootstrap: localimage\nFrom: ${from}\n%runscript\n  echo from ${from}\n`,
    })
    assert.equal(await runImage(t, ended, 'run'), `from ${from}\n`)
  }
  const absent = await runJob(t, { root, definition: 'Bootstrap: localimage\nFrom: base.sif\n' })
  assert.equal(absent.state, 'failed')
})

test(
  'private images of the own library and registry, without a credential inside',
  { skip },
  async (t) => {
    const server = await startServer(t)
    const alice = await server.account('alice')
    const token = alice.credentials?.token ?? assert.fail()
    await alice.post('/v1/collections', { entity: 'alice', name: 'hidden', private: true })
    const host = new URL(server.url).host
    const base = await build(t, { definition: ['Bootstrap: scratch', ...busybox].join('\n') })
    const node = openApptainer(t, { root })
    node.useRemote(server.url, token)
    writeFileSync(join(node.work, 'base.sif'), base.image ?? '')
    await well(node, 'apptainer push -U base.sif library://alice/hidden/base:v1')
    const image = makeImage({
      layers: [{ 'bin/sh': readFileSync(join(root, 'usr/bin/busybox')) }],
      command: ['/bin/sh'],
    })
    writeLayout(join(node.work, 'layout'), { base: image })
    writeFileSync(join(node.work, 'token'), token)
    await well(
      node,
      `skopeo login --authfile auth.json --tls-verify=false -u alice --password-stdin ${host} < token`,
    )
    await well(
      node,
      `skopeo copy --authfile auth.json --dest-tls-verify=false oci:layout:base docker://${host}/alice/hidden/layers:v1`,
    )

    for (const [bootstrap, from] of [
      ['library', 'alice/hidden/base:v1'],
      ['library', `library://${host}/alice/hidden/base:v1`],
      ['oras', `${host}/alice/hidden/base:v1`],
      ['docker', `${host}/alice/hidden/layers:v1`],
    ]) {
      const options = {
        libraryUrl: server.url,
        registryUrl: server.url,
        definition: `Bootstrap: ${bootstrap}\nFrom: ${from}\n%setup\n  env; grep -r -a "$(printf 'ey''J')" /build/home /.berth /proc/*/environ || echo none\n%runscript\n  echo by ${bootstrap}\n`,
      }
      const ended = await build(t, { ...options, pullToken: token })
      assert.equal(await runImage(t, ended, 'run'), `by ${bootstrap}\n`)
      assert.ok(!ended.output.includes(token), 'the token is in the output')
      const stranger = await runJob(t, { ...options, root })
      assert.equal(stranger.state, 'failed', `${bootstrap} without a token`)
    }
  },
)

for (const [what, ranges, report] of [
  ['with subordinate uids', 'nobody:200000:65536\n', /the subordinate uids of nobody, 200000 to/],
  ['without subordinate uids', '', /one account, that of the runner \(nobody\)/],
] as const) {
  test(`an ordinary account ${what} builds too`, { skip: skip || notRoot }, async (t) => {
    const ended = await build(t, {
      launcher: { words: asNobody(t, ranges), uid: 65_534 },
      settings: ['limiter = "prlimit"'],
      definition: ['Bootstrap: scratch', ...busybox, '%runscript', '  echo as nobody'].join('\n'),
    })
    assert.match(ended.output, report)
    assert.equal(await runImage(t, ended, 'run'), 'as nobody\n')
  })
}

/** Words that make the command after them that of an account of the host, with these ranges. */
function asNobody(t: test.TestContext, ranges: string): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'berth-ranges-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'ranges')
  writeFileSync(file, ranges)
  const script = [
    'for map in /etc/subuid /etc/subgid; do [ -e $map ] || : > $map; mount --bind "$1" $map; done',
    'shift',
    'change="--reuid=65534 --regid=65534 --clear-groups"',
    // Where that account could not even read the program: a clone in /root.
    'setpriv $change test -r "$3" || change="$change --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"',
    'exec setpriv --pdeathsig KILL $change "$@"',
  ].join('\n')
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', file]
}

/** One that has to succeed. */
async function build(t: test.TestContext, options: Omit<JobOptions, 'root'>): Promise<EndedJob> {
  const ended = await runJob(t, { root, ...options })
  assert.equal(ended.state, 'succeeded', `${ended.reason}\n${ended.output}\n${ended.log}`)
  assert.equal(ended.status, 0)
  return ended
}

async function runImage(t: test.TestContext, ended: EndedJob, verb: string): Promise<string> {
  const node = openApptainer(t, { root })
  writeFileSync(join(node.work, 'image.sif'), ended.image ?? '')
  return await well(node, `apptainer ${verb} image.sif`)
}

async function well(node: Apptainer, line: string): Promise<string> {
  const outcome = await node.type(line)
  assert.equal(outcome.status, 0, `${line}\n${outcome.stderr}`)
  return outcome.stdout
}

/** The tar.gz that a client makes of these files: names relative to the root of its machine. */
function contextOf(t: test.TestContext, files: Readonly<Record<string, string | Buffer>>): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'berth-context-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), content)
  }
  const packed = spawnSync('tar', ['-czf', '-', '-C', directory, '.'], { maxBuffer: 2 ** 28 })
  assert.equal(packed.status, 0)
  return packed.stdout
}

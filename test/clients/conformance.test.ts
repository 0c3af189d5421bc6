/**
 * The conformance suite of the OCI distribution specification, which is a Go program of its own and
 * no part of this repository: build `conformance` of github.com/opencontainers/distribution-spec and
 * name the binary in BERTH_CONFORMANCE. Both kinds are understood, the one of the releases up to
 * 1.1.1 (`go test -c`) and the one that followed (`go build`); each reads its own variables.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { assertLedger, startServer } from '../support/server.ts'
import { finish } from './apptainer-root.ts'

const program = process.env['BERTH_CONFORMANCE']
const skip = program === undefined ? 'BERTH_CONFORMANCE names no conformance suite' : false

/** All that may be skipped, and why; everything else has to run. */
const mayBeSkipped: readonly RegExp[] = [
  // No range at all, which HTTP says to ignore: the whole blob is the answer (RFC 9110, 14.1.2).
  /\/range 500-0$/,
  // For registries where the suite may not push.
  /Get tag name from environment$/,
  /Populate registry with test tags \(no push\)$/,
  // Runs only when a mount of a blob that is there was refused.
  /Cross-mounting of nonexistent blob should yield session id$/,
  // The opposite of what Berth does, which is tested: a mount without a source finds the blob.
  /automatic content discovery disabled should return a 202$/,
]

for (const manifestsFirst of [true, false]) {
  const order = manifestsFirst ? 'manifests deleted before blobs' : 'blobs deleted before manifests'
  test(`the conformance suite passes, ${order}`, { skip }, async (t) => {
    const server = await startServer(t, { leavesUploads: true })
    const { token } = (await server.account('alice')).credentials ?? assert.fail()
    const results = mkdtempSync(join(tmpdir(), 'berth-conformance-'))
    t.after(() => rmSync(results, { recursive: true, force: true }))
    const account = { OCI_USERNAME: 'alice', OCI_PASSWORD: token, PATH: process.env['PATH'] }
    const variables = {
      ...account,
      ...ofReleases(server.url, results, manifestsFirst),
      ...ofNewest(new URL(server.url).host, results),
    }

    const outcome = await finish(program ?? '', [], 300, variables)
    const report = readFileSync(join(results, 'junit.xml'), 'utf8')
    const cases = [...report.matchAll(/<testcase name="([^"]*)"[^>]* status="(\w+)"/g)].map(
      ([, name = '', status = '']) => ({ name, status }),
    )
    const named = (status: string): string[] =>
      cases.filter((one) => one.status === status).map(({ name }) => name)
    const excused = (name: string): boolean => mayBeSkipped.some((one) => one.test(name))
    const passed = named('passed')
    const skipped = named('skipped')
    t.diagnostic(`${passed.length} passed, ${skipped.length} skipped: ${skipped.join('; ')}`)

    const failed = cases.map(({ name }) => name).filter((name) => !passed.includes(name))
    assert.deepEqual(
      failed.filter((name) => !(skipped.includes(name) && excused(name))),
      [],
      outcome.stdout.slice(-3000),
    )
    assert.equal(outcome.status, 0, outcome.stderr)
    assert.ok(passed.length >= 70, `only ${passed.length} tests ran`)
    await assertLedger(server.db)
  })
}

/** For the suite of the releases up to 1.1.1: every workflow. */
function ofReleases(url: string, results: string, manifestsFirst: boolean): NodeJS.ProcessEnv {
  return {
    OCI_ROOT_URL: url,
    OCI_NAMESPACE: 'alice/conformance/one',
    OCI_CROSSMOUNT_NAMESPACE: 'alice/conformance/other',
    OCI_TEST_PULL: '1',
    OCI_TEST_PUSH: '1',
    OCI_TEST_CONTENT_DISCOVERY: '1',
    OCI_TEST_CONTENT_MANAGEMENT: '1',
    OCI_AUTOMATIC_CROSSMOUNT: '1',
    OCI_DELETE_MANIFEST_BEFORE_BLOBS: manifestsFirst ? '1' : '0',
    OCI_REPORT_DIR: results,
  }
}

/**
 * For the suite that followed: what it leaves out of itself is switched on, apart from sparse
 * manifests, since Berth takes no manifest whose blobs are not there.
 */
function ofNewest(host: string, results: string): NodeJS.ProcessEnv {
  return {
    OCI_REGISTRY: host,
    OCI_TLS: 'disabled',
    OCI_REPO1: 'alice/conformance/repo1',
    OCI_REPO2: 'alice/conformance/repo2',
    OCI_VERSION: '1.1',
    OCI_API_BLOBS_DIGEST_HEADER: 'true',
    OCI_API_BLOBS_UPLOAD_CANCEL: 'true',
    OCI_API_MANIFESTS_DIGEST_HEADER: 'true',
    OCI_API_MANIFESTS_TAG_PARAM: 'true',
    OCI_RESULTS_DIR: results,
  }
}

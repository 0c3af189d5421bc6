/** podman and buildah, which type alike: an image built, pushed, and pulled by somebody else. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { makeImage, makeIndex, writeLayout } from '../support/oci-image.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { openRegistryShell, without } from './registry-shell.ts'

const insecure = '--tls-verify=false'

for (const program of ['podman', 'buildah']) {
  // Without root they want a user namespace of their own, which not every machine gives.
  const skip =
    without(program) || (process.getuid?.() === 0 ? false : `${program} is run as root only`)

  test(`${program}: an image built from scratch is pushed and pulled`, { skip }, async (t) => {
    const server = await startServer(t)
    const shell = openRegistryShell(t, await server.account('alice'))
    const image = `${shell.host}/alice/demo/hello:v1`
    writeFileSync(join(shell.work, 'hello'), 'hello\n')
    writeFileSync(join(shell.work, 'Containerfile'), 'FROM scratch\nCOPY hello /etc/hello\n')
    await shell.type(`${program} build --isolation chroot -q -f Containerfile -t ${image} .`)

    const unsigned = await shell.attempt(`${program} push ${insecure} ${image}`)
    assert.notEqual(unsigned.status, 0)
    assert.match(unsigned.stderr, /unauthorized|authentication required/)
    const login = `${program} login ${insecure} -u alice --password-stdin ${shell.host}`
    assert.notEqual((await shell.attempt(`echo wrong | ${login}`)).status, 0)
    assert.match(await shell.type(`${login} < token`), /Login Succeeded!/)
    await shell.type(`${program} push ${insecure} --digestfile digest ${image}`)
    const digest = await shell.type('cat digest')
    const manifest = await server.anonymous.get('/v2/alice/demo/hello/manifests/v1', {
      accept: '*/*',
    })
    assert.equal(manifest.headers['docker-content-digest'], digest)
    assert.equal(`sha256:${createHash('sha256').update(manifest.body).digest('hex')}`, digest)

    const other = openRegistryShell(t, await server.account('bob'))
    const pulled = await other.type(`${program} pull ${insecure} -q ${image}`)
    assert.equal(pulled.trim(), manifest.json.config.digest.replace('sha256:', ''))
    const copied = `${other.host}/bob/mine:again`
    await other.type(`${program} tag ${image} ${copied}`)
    await other.type(`${program} login ${insecure} -u bob --password-stdin ${other.host} < token`)
    await other.type(`${program} push ${insecure} ${copied}`)
    const again = await server.anonymous.get('/v2/bob/mine/manifests/again', { accept: '*/*' })
    assert.equal(again.json.config.digest, manifest.json.config.digest)
    await assertLedger(server.db)
  })

  test(`${program}: of an index the image of one architecture is pulled`, { skip }, async (t) => {
    const server = await startServer(t)
    const shell = openRegistryShell(t, await server.account('alice'))
    const images = ['amd64', 'arm64'].map((arch) => makeImage({ arch }))
    writeLayout(join(shell.work, 'layout'), { all: makeIndex(images) })
    const name = `${shell.host}/alice/demo/hello:v1`
    const to = `--dest-tls-verify=false --dest-creds alice:"$(cat token)"`
    await shell.type(`skopeo copy --all ${to} oci:layout:all docker://${name}`)

    for (const { arch, configDigest } of images) {
      const id = await shell.type(`${program} pull ${insecure} -q --arch ${arch} ${name}`)
      assert.equal(`sha256:${id.trim()}`, configDigest, arch)
    }
  })
}

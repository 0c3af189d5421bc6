import { writeFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { makeImage, writeLayout } from '../support/oci-image.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'
const root = findApptainerRoot()
test('x', async (t) => {
  const server = await startServer(t)
  const alice = await server.account('alice')
  const node = openApptainer(t, { root })
  const host = new URL(server.url).host
  node.useRemote(server.url, alice.credentials!.token)
  writeFileSync(join(node.work, 'token'), alice.credentials!.token)
  writeFileSync(join(node.work, 'a.sif'), makeSif({ seed: 1 }))
  const busybox = readFileSync(join(root!, 'usr/bin/busybox'))
  writeLayout(join(node.work, 'lay'), { hello: makeImage({ layers: [{ 'bin/sh': busybox }, {'etc/hello': 'hi'}], command: ['/bin/sh','-c','echo hello from the registry'] }) })
  const show = async (p: Promise<any>, what: string) => console.log(what, JSON.stringify(await p, null, 1).replaceAll('\\n','\n   '))
  for (const line of [
    `apptainer registry login --help | head -40`,
    `apptainer registry login -u alice --password-stdin oras://${host} < token`,
    `apptainer registry login --insecure -u alice --password-stdin oras://${host} < token`,
    `cat ~/.apptainer/docker-config.json | cut -c1-80; apptainer registry list`,
    `apptainer push --no-https a.sif oras://${host}/alice/demo/tool:v1`,
    `apptainer pull --no-https b.sif oras://${host}/alice/demo/tool:v1 && cmp a.sif b.sif`,
    `apptainer pull library://alice/demo/tool:v1 ; cmp a.sif tool_v1.sif`,
    `apptainer push -U a.sif library://alice/demo/other:v1`,
    `apptainer pull --disable-cache --no-https c.sif oras://${host}/alice/demo/other:v1 && cmp a.sif c.sif`,
    `apptainer remote get-login-password | skopeo login --tls-verify=false -u alice --password-stdin ${host}`,
    `skopeo copy --dest-tls-verify=false --preserve-digests oci:lay:hello docker://${host}/alice/demo/hello:v1`,
    `apptainer pull --no-https h.sif docker://${host}/alice/demo/hello:v1`,
    `apptainer run h.sif; apptainer exec h.sif /bin/sh -c 'cat /etc/hello'`,
    `apptainer run --no-https docker://${host}/alice/demo/hello:v1`,
    `apptainer build --no-https bb.sif docker://${host}/alice/demo/hello:v1 && apptainer run bb.sif`,
    `printf 'Bootstrap: docker\\nRegistry: ${host}\\nFrom: alice/demo/hello:v1\\n%%runscript\\necho built\\n' > d.def; apptainer build --no-https d.sif d.def; apptainer run d.sif`,
    `apptainer registry logout oras://${host}`,
    `apptainer push --no-https a.sif oras://${host}/alice/demo/nope:v1`,
  ]) await show(node.type(line), line)
  console.log(server.log().split('\n').filter(l=>/"response.status":(4|5)/.test(l)).map(l=>{const o=JSON.parse(l); return [o['request.method'],o['request.path'],o['response.status']].join(' ')}).join('\n'))
})

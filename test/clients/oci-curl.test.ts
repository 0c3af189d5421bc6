/** A whole push by hand, as the specification's end-points read: what a script of a site does. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { openRegistryShell, without } from './registry-shell.ts'

const skip = without('curl')

/** Ends with what went wrong instead of a status; the address of a session is taken from its header. */
const prelude = `
set -eu
call() { curl --silent --show-error --fail-with-body "$@"; }
location() { tr -d '\\r' | sed -n 's/^[Ll]ocation: //p'; }
digest() { echo "sha256:$(sha256sum < "$1" | cut -d ' ' -f 1)"; }
`

test('curl pushes a SIF in chunks by a registry token, and pulls it', { skip }, async (t) => {
  const server = await startServer(t)
  const shell = openRegistryShell(t, await server.account('alice'))
  const sif = makeSif({ seed: 'by hand', payload: 300_000 })
  writeFileSync(join(shell.work, 'image.sif'), sif)
  writeFileSync(
    join(shell.work, 'push.sh'),
    `${prelude}
host=http://${shell.host} repository=alice/demo/tool
challenge=$(curl --silent --head "$host/v2/" | tr -d '\\r' | grep -i '^www-authenticate: Bearer ')
realm=$(echo "$challenge" | sed 's/.*realm="\\([^"]*\\)".*/\\1/')
service=$(echo "$challenge" | sed 's/.*service="\\([^"]*\\)".*/\\1/')
call --user "alice:$(cat token)" --get "$realm" --data-urlencode "service=$service" \\
  --data-urlencode "scope=repository:$repository:pull,push" |
  sed 's/.*"token":"\\([^"]*\\)".*/header = "Authorization: Bearer \\1"/' > signed-in
signed_in() { call --config signed-in "$@"; }

printf '{}' > config
session=$(signed_in --request POST --dump-header - --output /dev/null \\
  "$host/v2/$repository/blobs/uploads/" | location)
signed_in --request PUT --header 'Content-Type: application/octet-stream' \\
  --data-binary @config "$session?digest=$(digest config)"

session=$(signed_in --request POST --dump-header - --output /dev/null \\
  "$host/v2/$repository/blobs/uploads/" | location)
split --bytes=100000 --numeric-suffixes image.sif chunk.
at=0
for chunk in chunk.*; do
  size=$(stat --format %s "$chunk")
  session=$(signed_in --request PATCH --dump-header - --output /dev/null \\
    --header "Content-Range: $at-$((at + size - 1))" \\
    --header 'Content-Type: application/octet-stream' --data-binary "@$chunk" "$session" | location)
  at=$((at + size))
done
signed_in --request PUT "$session?digest=$(digest image.sif)"

cat > manifest <<END
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
"config": {"mediaType": "application/vnd.sylabs.sif.config.v1+json",
"digest": "$(digest config)", "size": 2},
"layers": [{"mediaType": "application/vnd.sylabs.sif.layer.v1.sif",
"digest": "$(digest image.sif)", "size": $at}]}
END
signed_in --request PUT --header 'Content-Type: application/vnd.oci.image.manifest.v1+json' \\
  --data-binary @manifest "$host/v2/$repository/manifests/v1"
echo pushed

# Everybody may read it.
call --output pulled.manifest "$host/v2/$repository/manifests/v1"
cmp manifest pulled.manifest
call --location --output pulled.sif "$host/v2/$repository/blobs/$(digest image.sif)"
cmp image.sif pulled.sif
call --range 100-199 --output part "$host/v2/$repository/blobs/$(digest image.sif)"
`,
  )
  assert.equal(await shell.type('bash push.sh'), 'pushed\n')
  assert.deepEqual(readFileSync(join(shell.work, 'part')), sif.subarray(100, 200))

  // The other door has it too.
  const image = await server.anonymous.get('/v1/images/alice/demo/tool:v1?arch=amd64')
  assert.equal(image.status, 200, image.body.toString())
  const hash = `sha256.${createHash('sha256').update(sif).digest('hex')}`
  assert.deepEqual([image.json.data.hash, image.json.data.size], [hash, sif.length])
  await assertLedger(server.db)
})

test('curl resumes an upload where the server says that it stands', { skip }, async (t) => {
  const server = await startServer(t)
  const shell = openRegistryShell(t, await server.account('alice'))
  const blob = Buffer.alloc(200_000, 'resumed ')
  writeFileSync(join(shell.work, 'blob'), blob)
  writeFileSync(
    join(shell.work, 'resume.sh'),
    `${prelude}
uploads=http://${shell.host}/v2/alice/demo/tool/blobs/uploads/
signed_in() { call --user "alice:$(cat token)" "$@"; }
session=$(signed_in --request POST --dump-header - --output /dev/null "$uploads" | location)
head --bytes 150000 blob > first
signed_in --request PATCH --output /dev/null --data-binary @first \\
  --header 'Content-Type: application/octet-stream' "$session"
# As if nothing of the answer had come: the wrong place is refused, the right one told.
curl --silent --user "alice:$(cat token)" --request PATCH --output /dev/null --data-binary @first \\
  --header 'Content-Range: 0-149999' --header 'Content-Type: application/octet-stream' \\
  --write-out '%{http_code}\\n' "$session"
end=$(signed_in --dump-header - --output /dev/null "$session" | tr -d '\\r' |
  sed -n 's/^[Rr]ange: 0-//p')
echo "$end"
tail --bytes "+$((end + 2))" blob > rest
signed_in --request PUT --output /dev/null --write-out '%{http_code}\\n' --data-binary @rest \\
  --header 'Content-Type: application/octet-stream' "$session?digest=$(digest blob)"
call "http://${shell.host}/v2/alice/demo/tool/blobs/$(digest blob)" | cmp - blob
`,
  )
  assert.equal(await shell.type('bash resume.sh'), '416\n149999\n201\n')
  await assertLedger(server.db)
})

/**
 * nginx as the ceiling: it neither hashes nor flushes what it stores, and the kernel sends files
 * for it. Storing is WebDAV PUT, which Debian's packages have built in.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { runChild } from './children.ts'
import { MissingContender } from './contender.ts'
import type { Contender } from './contender.ts'
import { putPayload } from './put-payload.ts'
import { freePort, startServer } from './server-process.ts'

export async function startNginx(directory: string): Promise<Contender> {
  const { version, canStore } = await inspect()
  if (!canStore) throw new MissingContender('this nginx is built without WebDAV (dav)')
  const port = await freePort()
  const root = join(directory, 'root')
  const configFile = join(directory, 'nginx.conf')
  await mkdir(root, { recursive: true })
  await writeFile(configFile, configuration(directory, port))
  const server = await startServer('nginx', ['-p', directory, '-c', configFile], {
    logFile: join(directory, 'nginx.log'),
    readyUrl: `http://127.0.0.1:${port}/`,
  })
  const urlOf = (name: string): string => `http://127.0.0.1:${port}/${name}`
  return {
    ...server,
    name: 'nginx',
    version,
    uploadForms: ['whole'],
    prepareUpload: (payload) =>
      Promise.resolve({
        send: async () => await putPayload({ url: urlOf(payload.sha256), headers: {} }, payload),
        remove: async () => await rm(join(root, payload.sha256)),
      }),
    downloadTarget: (payload) => Promise.resolve({ url: urlOf(payload.sha256), headers: {} }),
    metadataTarget: undefined,
  }
}

async function inspect(): Promise<{ version: string; canStore: boolean }> {
  const { stderr } = await runChild('nginx', ['-V'], { timeoutMs: 10_000 }).catch(() => {
    throw new MissingContender('not installed (Debian: nginx-light)')
  })
  return {
    version: /nginx version: (\S+)/.exec(stderr)?.[1] ?? 'nginx',
    canStore: /--with-http_dav_module(?!=dynamic)/.test(stderr),
  }
}

function configuration(directory: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
# Without a user, workers that root starts could not write below a private directory.
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 2;
daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  # With it, one stream over the loopback is half as fast; it is to be the ceiling.
  tcp_nopush off;
  client_max_body_size 0;
  client_body_buffer_size 1m;
${temporary.map((name) => `  ${name}_temp_path ${directory}/${name};`).join('\n')}
  server {
    listen 127.0.0.1:${port};
    root ${directory}/root;
    location / { dav_methods PUT; }
  }
}
`
}

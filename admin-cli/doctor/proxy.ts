/**
 * What stands between clients and Berth, by requests that only this host can make (an address with a
 * right to be answered, `/ul/probe/…`): proxies that are right for web pages break pushes of many GiB.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { Capabilities, oneKey } from '../../server/capability.ts'
import type { ProbeReply } from '../../server/transfer/probe-routes.ts'
import { fault, messageOf, skipped } from './check.ts'
import type { Check, Outcome } from './check.ts'
import type { Site } from './site.ts'
import { NoReply, visit } from './visit.ts'
import type { Visit } from './visit.ts'

export interface ProxySubject {
  readonly site: Site
  /** Undefined when the requests cannot be made, and why. */
  readonly capabilities: Capabilities | undefined
  readonly whyNot: string
  /** A small request, answered; everything else would fail with it. */
  readonly plain: ProbeReply | undefined
}

/** TEST-NET-1 (RFC 5737): nobody's address. */
const invented = '192.0.2.77'
/** Larger than any image, so that a limit of any size is seen before a byte has moved. */
const hugeBytes = 2 ** 40
const encoded = 'a%2Fb%2Fc'

export async function reachProxy(site: Site): Promise<ProxySubject> {
  const none = { site, capabilities: undefined, plain: undefined }
  let capabilities: Capabilities
  try {
    const key = readFileSync(join(site.config.dataDir, 'secrets/capability-key'), 'utf8')
    capabilities = new Capabilities(oneKey(Buffer.from(key, 'hex')))
  } catch (error) {
    return { ...none, whyNot: `the capability key cannot be read: ${messageOf(error)}` }
  }
  try {
    const path = `${capabilities.probePath({ holdMs: 0 })}/plain`
    const reply = await visit(site, path, {
      method: 'PUT',
      headers: { 'content-length': '1', 'x-forwarded-for': invented },
      body: Buffer.from('x'),
      patienceMs: site.patienceMs,
    })
    const plain = replyOf(reply)
    if (plain !== undefined) return { site, capabilities, plain, whyNot: '' }
    return { ...none, whyNot: `Berth was not reached through the public address (${reply.status})` }
  } catch (error) {
    return {
      ...none,
      whyNot: `Berth was not reached through the public address: ${messageOf(error)}`,
    }
  }
}

export const proxyChecks: readonly Check<ProxySubject>[] = [
  {
    name: 'proxy-forwarded-for',
    fix: 'nginx: proxy_set_header X-Forwarded-For $remote_addr; (written over, not added to): else anybody chooses the address that is throttled and logged.',
    run: (subject) =>
      through(subject, async () =>
        subject.plain?.address === invented
          ? fault('what a client says in X-Forwarded-For is taken for its address')
          : undefined,
      ),
  },
  {
    name: 'proxy-slashes',
    fix: 'nginx: proxy_pass without a path behind the host. Apache: AllowEncodedSlashes NoDecode and nocanon.',
    run: (subject) =>
      through(subject, async (capabilities) => {
        const path = `${capabilities.probePath({ holdMs: 0 })}/${encoded}`
        const reply = await visit(subject.site, path, small(subject.site))
        const rest = replyOf(reply)?.rest
        if (rest === encoded) return undefined
        return fault(
          rest === undefined
            ? `an address with %2F is refused on the way (status ${reply.status})`
            : `an address with %2F arrives as "${rest.slice(0, 40)}"`,
        )
      }),
  },
  {
    name: 'proxy-body-limit',
    fix: 'nginx: client_max_body_size 0; in the server block. Berth says itself what is too large, by the quota.',
    run: (subject) =>
      through(subject, async () => {
        const reply = await openHuge(subject)
        if (!('status' in reply) || replyOf(reply) !== undefined) return undefined
        return fault(`a large upload is refused on the way (status ${reply.status})`)
      }),
  },
  {
    name: 'proxy-buffering',
    fix: 'nginx: proxy_request_buffering off; proxy_http_version 1.1; else every push is written to the disk of the proxy first.',
    run: (subject) =>
      through(subject, async () => {
        const reply = await openHuge(subject)
        if ('status' in reply || !(reply.error instanceof NoReply)) return undefined
        return fault(
          'the first bytes of an upload do not reach Berth before the last: it is buffered',
        )
      }),
  },
  {
    name: 'proxy-cuts',
    fix: 'nginx: proxy_read_timeout 1h; proxy_send_timeout 1h; and no limit for a request as a whole: builds wait, and large images take long.',
    run: (subject) =>
      through(subject, async (capabilities) => {
        const { holdSeconds, patienceMs } = subject.site
        if (holdSeconds === 0) return skipped('it was not asked to wait (--hold 0)')
        const path = `${capabilities.probePath({ holdMs: holdSeconds * 1000 })}/held`
        const began = performance.now()
        const after = (): string => `after ${Math.round((performance.now() - began) / 1000)} s`
        try {
          const reply = await visit(subject.site, path, {
            ...small(subject.site),
            patienceMs: holdSeconds * 1000 + patienceMs,
          })
          if (replyOf(reply) !== undefined) return undefined
          return fault(
            `a request that takes ${holdSeconds} s is ended ${after()} (status ${reply.status})`,
          )
        } catch {
          return fault(`a request that takes ${holdSeconds} s is cut ${after()}`)
        }
      }),
  },
  {
    name: 'proxy-websocket',
    fix: 'nginx: proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection with the map of systemd/nginx/berth.conf.',
    run: (subject) =>
      through(subject, async () => {
        const reply = await visit(subject.site, `/v1/build-ws/${'0'.repeat(24)}`, {
          headers: {
            connection: 'Upgrade',
            upgrade: 'websocket',
            'sec-websocket-version': '13',
            'sec-websocket-key': Buffer.from('berthctl doctor!').toString('base64'),
          },
          patienceMs: subject.site.patienceMs,
        })
        // Who asks for a WebSocket without a token is refused before there is a request.
        const isRequest =
          /"status":/.test(reply.body) || reply.headers['x-request-id'] !== undefined
        if (reply.status === 401 && !isRequest) return undefined
        return fault(
          `an upgrade to WebSocket does not reach Berth (status ${reply.status}): no build shows its output`,
        )
      }),
  },
]

async function through(
  { capabilities, whyNot }: ProxySubject,
  look: (capabilities: Capabilities) => Promise<Outcome>,
): Promise<Outcome> {
  return capabilities === undefined ? skipped(whyNot) : await look(capabilities)
}

/** Announces very many bytes, sends a few, and waits for what is answered to those. */
async function openHuge({
  site,
  capabilities,
}: ProxySubject): Promise<Visit | { readonly error: unknown }> {
  const path = `${capabilities?.probePath({ holdMs: 0 }) ?? ''}/huge`
  return await visit(site, path, {
    method: 'PUT',
    headers: { 'content-length': String(hugeBytes) },
    body: Buffer.alloc(1024),
    isWhole: false,
    patienceMs: site.patienceMs,
  }).catch((error: unknown) => ({ error }))
}

function small({ patienceMs }: Site) {
  const body = Buffer.from('x')
  return { method: 'PUT', headers: { 'content-length': '1' }, body, patienceMs }
}

function replyOf({ status, body }: Visit): ProbeReply | undefined {
  if (status !== 200) return undefined
  try {
    const { data } = JSON.parse(body) as { data?: ProbeReply }
    return typeof data?.rest === 'string' ? data : undefined
  } catch {
    return undefined
  }
}

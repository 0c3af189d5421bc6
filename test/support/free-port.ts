import { listen } from '../../server/listener.ts'

/** A port that nothing listens on right now. */
export async function freePort(): Promise<number> {
  const probe = await listen(() => {}, { host: '127.0.0.1', port: 0, idleSeconds: 1 })
  await probe.close(0)
  return probe.port
}

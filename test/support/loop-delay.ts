/** How long the event loop waits while something is done, told apart from how busy the machine is. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

const limitMs = 50
const rounds = 3

/** A thread that does nothing else: what it waits for, the machine makes everybody wait for. */
const idleThread = `
  const { monitorEventLoopDelay } = require('node:perf_hooks')
  const { parentPort } = require('node:worker_threads')
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  parentPort.once('message', () => parentPort.postMessage(delay.max / 1e6))
  parentPort.postMessage('ready')
`

/**
 * Fails where the loop waits for more than 50 ms, in each of three rounds, and more than four
 * times as long as a thread that has nothing to do, and goes first when it wakes up. What the work
 * makes it wait, it does every time.
 */
export async function assertLoopGoesOn(work: () => Promise<void>): Promise<void> {
  const seen: string[] = []
  for (let round = 0; round < rounds; round += 1) {
    const { ownMs, machineMs } = await delays(work)
    if (ownMs < Math.max(limitMs, 4 * machineMs)) return
    seen.push(`${ownMs.toFixed(0)} ms (an idle thread ${machineMs.toFixed(0)} ms)`)
  }
  assert.fail(`the event loop waited ${seen.join(', ')}`)
}

async function delays(work: () => Promise<void>): Promise<{ ownMs: number; machineMs: number }> {
  const idle = new Worker(idleThread, { eval: true })
  await once(idle, 'message')
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  // It sees what lies between two of its ticks: one before the work, and one behind it.
  await setTimeout(30)
  await work()
  await setTimeout(30)
  delay.disable()
  idle.postMessage('end')
  const [machineMs] = (await once(idle, 'message')) as [number]
  await idle.terminate()
  return { ownMs: delay.max / 1e6, machineMs }
}

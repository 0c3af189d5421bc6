/** Images that the real Apptainer builds, of nothing but what its root has. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Apptainer } from './apptainer-root.ts'

/** Builds a container that says hello, and returns the image. */
export async function buildHello(node: Apptainer, file: string): Promise<Buffer> {
  return await build(node, file, [
    'mkdir ${APPTAINER_ROOTFS}/bin',
    'cp /usr/bin/busybox ${APPTAINER_ROOTFS}/bin/busybox',
    'ln -s busybox ${APPTAINER_ROOTFS}/bin/sh',
    '%runscript',
    'exec /bin/busybox echo hello from a container',
  ])
}

/** `apptainer build` of a scratch image with these lines in %setup and after it. */
export async function build(
  node: Apptainer,
  file: string,
  setup: readonly string[],
): Promise<Buffer> {
  const definition = ['Bootstrap: scratch', '%setup', ...setup, ''].join('\n')
  writeFileSync(join(node.work, `${file}.def`), definition)
  const built = await node.run('build', file, `${file}.def`)
  assert.equal(built.status, 0, built.stderr)
  return readFileSync(join(node.work, file))
}

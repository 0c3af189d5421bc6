import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { packageRoot } from './package-root.ts'

const manifest = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  version: string
}

/** Berth's own version. */
export const berthVersion: string = manifest.version

/**
 * What /version says. The enterprise plugin warns below 1.5.7 and speaks to 2.0.1 and newer
 * (enterprise.md 3), so the number is that of the interface, with Berth's own behind it.
 */
export const serviceVersion = `v2.0.1-berth.${berthVersion}`

/** From 2.0.0-alpha.2 on clients set tags for each architecture (protocol.md 2.3). */
export const libraryApiVersion = '2.0.0-alpha.2'

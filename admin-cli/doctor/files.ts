/** The data directory: whose it is, who reads it, whether it is the right one, and room on its disk. */
import { createPrivateKey } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'

import { codesOf, fault, messageOf, skipped, warning } from './check.ts'
import type { Check, Outcome } from './check.ts'
import type { Site } from './site.ts'

export const dataChecks: readonly Check<Site>[] = [
  {
    name: 'data-directory',
    fix: 'Correct data_dir (or BERTH_DATA_DIR), mount its disk, or start Berth once to make it.',
    run: ({ config }) => {
      const found = statSync(config.dataDir, { throwIfNoEntry: false })
      if (found === undefined) return fault(`${config.dataDir} is not there`)
      return found.isDirectory() ? undefined : fault(`${config.dataDir} is no directory`)
    },
  },
  {
    name: 'data-owner',
    fix: 'Run this as the account of the service: sudo -u berth berthctl doctor; or chown -R the directory to it.',
    run: ({ config }) => {
      const owner = statSync(config.dataDir, { throwIfNoEntry: false })?.uid
      const { uid, username } = userInfo()
      if (owner === undefined || owner === uid) return undefined
      return fault(
        `${config.dataDir} belongs to the uid ${owner}, and this is ${username} (${uid})`,
      )
    },
  },
  {
    name: 'data-permissions',
    fix: 'chmod o-rwx,g-w the directory: images of private collections and keys are in it.',
    run: ({ config }) => {
      const wrong = [
        { path: config.dataDir, mask: 0o026 },
        { path: join(config.dataDir, 'store'), mask: 0o026 },
        { path: join(config.dataDir, 'secrets'), mask: 0o077 },
      ].flatMap(({ path, mask }) => {
        const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0
        return (mode & mask) === 0 ? [] : [`${path} has the mode 0${(mode & 0o777).toString(8)}`]
      })
      return wrong.length === 0 ? undefined : fault(wrong.join(', '))
    },
  },
  {
    name: 'data-one-file-system',
    fix: 'Mount one disk at store/ as a whole: an upload becomes an image by being renamed, which no other disk can do.',
    run: ({ config }) => {
      const store = join(config.dataDir, 'store')
      const parts = ['incoming', 'blobs', 'blobs/sha256', 'blobs/sha256/00', 'blobs/sha512']
      const devices = new Set(
        parts.flatMap((part) => statSync(join(store, part), { throwIfNoEntry: false })?.dev ?? []),
      )
      if (devices.size <= 1) return undefined
      return fault(`the parts of ${store} are on ${devices.size} file systems`)
    },
  },
  {
    name: 'data-writable',
    fix: 'Mount the disk read-write again, after a look at why the kernel has made it read-only (dmesg).',
    run: ({ config }) => {
      const line = mountOf(join(config.dataDir, 'store'))
      if (line === undefined || !line.options.includes('ro')) return undefined
      return fault(`${line.place} is mounted read-only`)
    },
  },
]

export const secretChecks: readonly Check<Site>[] = [
  {
    name: 'secret-permissions',
    fix: 'chmod 0600 the files (0640 root:berth for those below /etc), then change the secrets that others could have read.',
    run: ({ config, settings }) => {
      const directory = join(config.dataDir, 'secrets')
      const own = existsSync(directory) ? readdirSync(directory) : []
      const files = [
        ...own.map((name) => ({ file: join(directory, name), mask: 0o077 })),
        ...secretFilesOf(settings).map((file) => ({ file, mask: 0o027 })),
      ]
      const open = files.filter(({ file, mask }) => {
        const found = statSync(file, { throwIfNoEntry: false })
        return found !== undefined && (found.mode & mask) !== 0
      })
      if (open.length === 0) return undefined
      return fault(`others than their owner can get at ${open.map(({ file }) => file).join(', ')}`)
    },
  },
  {
    name: 'signing-key',
    fix: 'Restore secrets/token-signing-key.pem from the backup. Tokens stay valid without it, but none can be issued.',
    run: ({ config }) => {
      const file = join(config.dataDir, 'secrets/token-signing-key.pem')
      try {
        const key = createPrivateKey(readFileSync(file))
        const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
        if (key.asymmetricKeyType === 'rsa' && bits >= 2048) return undefined
        return fault(`${file} is no RSA key of 2048 bits or more`)
      } catch (error) {
        return missingOr(config.dataDir, error, `${file} cannot be used: ${messageOf(error)}`)
      }
    },
  },
  {
    name: 'capability-key',
    fix: 'Restore secrets/capability-key from the backup, or remove it: a new one is made, and transfers that run begin anew.',
    run: ({ config }) => {
      const file = join(config.dataDir, 'secrets/capability-key')
      try {
        if (/^[0-9a-f]{64}$/.test(readFileSync(file, 'utf8').trim())) return undefined
        return fault(`${file} does not hold 64 hex digits`)
      } catch (error) {
        return missingOr(config.dataDir, error, `${file} cannot be read: ${messageOf(error)}`)
      }
    },
  },
]

export const diskChecks: readonly Check<Site>[] = [
  {
    name: 'disk-reserve',
    fix: 'Make room: berthctl usage, berthctl sweep, a larger disk. Until then uploads get 507; pulls and deletes work.',
    run: ({ config }) => {
      const { free } = roomOf(config.dataDir)
      if (free === undefined || free >= config.storage.keepFreeBytes) return undefined
      return fault(
        `${inGiB(free)} are free, below storage.keep_free (${inGiB(config.storage.keepFreeBytes)})`,
      )
    },
  },
  {
    name: 'disk-space',
    fix: 'Make room or enlarge the disk before uploads are refused; berthctl usage shows who holds what.',
    run: ({ config }) => {
      const { free, ratio } = roomOf(config.dataDir)
      if (ratio === undefined || ratio >= 0.1) return undefined
      return warning(`${Math.floor(ratio * 100)} % of the disk is free (${inGiB(free ?? 0)})`)
    },
  },
  {
    name: 'disk-inodes',
    fix: 'Make the file system anew with more inodes, or move what else is on it; each image takes one.',
    run: ({ config }) => {
      const { inodes } = roomOf(config.dataDir)
      if (inodes === undefined || inodes >= 0.1) return undefined
      return warning(`${Math.floor(inodes * 100)} % of the inodes are free`)
    },
  },
]

interface Room {
  readonly free: number | undefined
  readonly ratio: number | undefined
  /** Free part of the inodes; undefined where there is no fixed number. */
  readonly inodes: number | undefined
}

function roomOf(dataDir: string): Room {
  const store = join(dataDir, 'store')
  const nothing = { free: undefined, ratio: undefined, inodes: undefined }
  if (!existsSync(store)) return nothing
  const { bavail, bsize, blocks, bfree, files, ffree } = statfsSync(store)
  const usable = blocks - bfree + bavail
  return {
    free: bavail * bsize,
    ratio: usable === 0 ? undefined : bavail / usable,
    inodes: files === 0 ? undefined : ffree / files,
  }
}

/** Before the first start there is nothing that could be missing. */
function missingOr(dataDir: string, error: unknown, what: string): Outcome {
  const isMissing = codesOf(error).includes('ENOENT')
  const isNew = !existsSync(join(dataDir, 'store/store.json'))
  return isMissing && isNew ? skipped('Berth was never started here') : fault(what)
}

/** Values of keys that name files with secrets, wherever they are. */
function secretFilesOf(settings: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(settings).flatMap(([key, value]) => {
    if (Array.isArray(value)) {
      return value.flatMap((one) => (isTable(one) ? secretFilesOf(one) : []))
    }
    if (isTable(value)) return secretFilesOf(value)
    const isSecret = /(?:password|passphrase|key|token|secret)_file$/.test(key)
    return isSecret && typeof value === 'string' ? [value] : []
  })
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The mount that a path is on; the last that fits lies above the others. */
function mountOf(path: string): { place: string; options: readonly string[] } | undefined {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  let best: { place: string; options: readonly string[] } | undefined
  for (const line of lines) {
    const [, place = '', , options = ''] = line.split(' ')
    const holds = place === '/' || path === place || path.startsWith(`${place}/`)
    if (place !== '' && holds && place.length >= (best?.place.length ?? 0)) {
      best = { place, options: options.split(',') }
    }
  }
  return best
}

function inGiB(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`
}

/**
 * The secrets of an installation as one tar archive, encrypted as an OpenPGP message: `gpg --decrypt`
 * reads it, with the passphrase or with the secret key of the recipient, and no Berth is needed.
 * In the archive:
 *
 *   data/secrets/<name>    what Berth made for itself: the keys it signs with
 *   config/berth.toml      the configuration as it is
 *   config/files/<path>    the files that it names in keys ending in _file, by their absolute path
 */
import { readdir, readFile } from 'node:fs/promises'
import { isAbsolute, join, normalize } from 'node:path'

import { parse as parseToml } from 'smol-toml'
import { Header, Parser } from 'tar'

import { Failure, invalid } from '../failure.ts'

export type Encryption =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  /** Armoured or binary OpenPGP certificate. */
  | { readonly kind: 'recipient'; readonly certificate: Buffer }

export interface SecretFile {
  readonly path: string
  readonly content: Buffer
}

const block = 512

export interface SecretSources {
  readonly dataDir: string
  /** May be absent. */
  readonly configFile: string
}

/** What belongs into the archive; a file that the configuration names and cannot be read is an error. */
export async function gatherSecrets(sources: SecretSources): Promise<SecretFile[]> {
  const directory = join(sources.dataDir, 'secrets')
  const found: SecretFile[] = []
  for (const name of (await readdir(directory)).sort()) {
    found.push({ path: `data/secrets/${name}`, content: await readFile(join(directory, name)) })
  }
  const config = await readIfThere(sources.configFile)
  if (config === undefined) return found
  found.push({ path: 'config/berth.toml', content: config })
  for (const file of new Set(filesNamedIn(parseToml(config.toString())))) {
    found.push({ path: `config/files${normalize(file)}`, content: await readFile(file) })
  }
  return found
}

/** The configuration for people to read: passwords in addresses are left out. */
export async function readableConfig(file: string): Promise<string | undefined> {
  const text = (await readIfThere(file))?.toString()
  return text?.replace(/(:\/\/[^\s:/@"']*):[^\s@"']*@/g, '$1:(left out)@')
}

export async function sealSecrets(
  files: readonly SecretFile[],
  encryption: Encryption,
): Promise<Buffer> {
  // Loaded for a backup alone: the server runs without it on this thread.
  const { createMessage, encrypt, readKey } = await import('openpgp')
  const binary = new Uint8Array(makeTar(files))
  const message = await createMessage({ binary, filename: 'secrets.tar' })
  if (encryption.kind === 'passphrase') {
    const passwords = [encryption.passphrase]
    const config = { s2kIterationCountByte: 240 }
    return Buffer.from(await encrypt({ message, passwords, config, format: 'binary' }))
  }
  const { certificate } = encryption
  const isArmored = certificate.toString('latin1').includes('-----BEGIN PGP PUBLIC KEY BLOCK')
  const reading = isArmored
    ? readKey({ armoredKey: certificate.toString() })
    : readKey({ binaryKey: new Uint8Array(certificate) })
  const encryptionKeys = await reading.catch((cause: unknown) => {
    throw invalid('key', 'The recipient of the secrets is no OpenPGP certificate.', cause)
  })
  return Buffer.from(await encrypt({ message, encryptionKeys, format: 'binary' }))
}

export async function openSecrets(sealed: Buffer, passphrase: string): Promise<SecretFile[]> {
  const { decrypt, readMessage } = await import('openpgp')
  try {
    const message = await readMessage({ binaryMessage: new Uint8Array(sealed) })
    const decrypted = await decrypt({ message, passwords: [passphrase], format: 'binary' })
    const { data } = decrypted as { readonly data: Uint8Array }
    return await readTar(Buffer.from(data))
  } catch (cause) {
    const text = 'The secrets of the backup cannot be decrypted: is it another passphrase?'
    throw new Failure('denied', 'key', text, { cause })
  }
}

/** The archive as `gpg --decrypt` gives it. */
export async function readTar(archive: Buffer): Promise<SecretFile[]> {
  return await new Promise((resolve, reject) => {
    const found: SecretFile[] = []
    const parser = new Parser({
      strict: true,
      onReadEntry: (entry) => {
        const pieces: Buffer[] = []
        entry.on('data', (piece: Buffer) => pieces.push(piece))
        entry.on('end', () => found.push({ path: entry.path, content: Buffer.concat(pieces) }))
      },
    })
    parser.on('error', reject)
    parser.on('end', () => resolve(found))
    parser.end(archive)
  })
}

function makeTar(files: readonly SecretFile[]): Buffer {
  const pieces: Buffer[] = []
  const mtime = new Date()
  for (const { path, content } of files) {
    const header = new Header({ path, mode: 0o600, size: content.length, type: 'File', mtime })
    header.encode()
    if (header.needPax || header.block === undefined) {
      throw invalid('storage', `The path is too long for an archive: ${path}`)
    }
    pieces.push(header.block, content, Buffer.alloc(-content.length & (block - 1)))
  }
  return Buffer.concat([...pieces, Buffer.alloc(2 * block)])
}

function filesNamedIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(filesNamedIn)
  if (typeof value !== 'object' || value === null || value instanceof Date) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    // The passphrase that opens the archive does not belong into it.
    if (key === 'passphrase_file') return []
    const isFile = key.endsWith('_file') && typeof inner === 'string' && isAbsolute(inner)
    return isFile ? [inner] : filesNamedIn(inner)
  })
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  return await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}

/** GnuPG with a home of its own, whose agent ends with the test. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const isInstalled = spawnSync('gpg', ['--version']).status === 0

/** False, or the reason for node:test. In CI nothing is skipped: what is missing fails. */
export const skipGnupg: string | false =
  process.env['CI'] === 'true' || isInstalled ? false : 'gpg is not installed'

export class Gnupg {
  // Short, because the paths of sockets are: an agent listens in it.
  readonly #home = mkdtempSync(join(tmpdir(), 'gpg-'))

  /** What it prints. Throws with what it says when it fails. */
  run(args: readonly string[], input?: string | Buffer): Buffer {
    const options = ['--homedir', this.#home, '--batch', '--no-tty', '--yes', '--passphrase', '']
    const pinentry = ['--pinentry-mode', 'loopback', '--no-auto-check-trustdb']
    return execFileSync('gpg', [...options, ...pinentry, ...args], {
      ...(input === undefined ? {} : { input }),
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 60_000,
    })
  }

  /** Makes a key without a passphrase; returns its fingerprint. `ends` as gpg takes it: 0, 1y. */
  makeKey(userId: string, algorithm: string, ends = '0', options: readonly string[] = []): string {
    this.run([...options, '--quick-generate-key', userId, algorithm, 'default', ends])
    return this.fingerprints(userId)[0] ?? ''
  }

  /** Of the primary key and its subkeys. */
  fingerprints(name: string): string[] {
    return this.fields(name, 'fpr').map((fields) => fields[9] ?? '')
  }

  /** The fields of the lines of one kind about one key (--with-colons). */
  fields(name: string, kind: string): string[][] {
    const listing = this.run(['--with-colons', '--fixed-list-mode', '--list-keys', `=${name}`])
    const lines = listing.toString().split('\n')
    return lines.map((line) => line.split(':')).filter(([first]) => first === kind)
  }

  exportKey(fingerprint: string, options: readonly string[] = []): Buffer {
    return this.run([...options, '--export', fingerprint])
  }

  /** Imports the revocation that gpg made together with the key. */
  revoke(fingerprint: string): void {
    const directory = join(this.#home, 'openpgp-revocs.d')
    const name = readdirSync(directory).find((each) => each.startsWith(fingerprint)) ?? ''
    // A colon before the block keeps people from importing it by mistake.
    this.run(['--import'], readFileSync(join(directory, name), 'utf8').replace(/^:---/m, '---'))
  }

  close(): void {
    spawnSync('gpgconf', ['--homedir', this.#home, '--kill', 'all'])
    rmSync(this.#home, { recursive: true, force: true })
  }
}

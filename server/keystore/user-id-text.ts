/** User IDs as people see them: what is refused in one, and the address in it. Pure. */
import { invalid } from '../failure.ts'

/**
 * Control characters and line separators, and what is not seen but changes how the rest is read
 * (directions, tags, joiners of nothing). The two joiners of Persian and Indian scripts are text.
 */
const unseen = /[\p{Cc}\p{Zl}\p{Zp}\p{Co}]|(?![\u200C\u200D])\p{Cf}/u

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text of a user ID packet; Failure `invalid` where others could be misled by it. */
export function readUserIdText(body: Uint8Array): string {
  let text: string
  try {
    text = utf8.decode(body)
  } catch (error) {
    throw invalid('key', 'A user ID of this key is not UTF-8 text: make a new one.', error)
  }
  if (text.trim() === '') throw invalid('key', 'A user ID of this key is empty: name the owner.')
  const found = unseen.exec(text)?.[0].codePointAt(0)
  if (found !== undefined) {
    const code = found.toString(16).toUpperCase().padStart(4, '0')
    throw invalid(
      'key',
      `A user ID of this key has a character that cannot be seen (U+${code}): make one without it.`,
    )
  }
  return text
}

/** The one address that a user ID names, in lower case; undefined where it names none or several. */
export function emailOf(text: string): string | undefined {
  const [, bracketed, bare] =
    /^[^<>]*<([^<>\s@]+@[^<>\s@]+)>\s*$|^\s*([^<>\s@]+@[^<>\s@]+)\s*$/.exec(text) ?? []
  return (bracketed ?? bare)?.toLowerCase()
}

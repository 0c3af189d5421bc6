/** What Node says of certificates that are not right (OpenSSL's X509_V_ERR_…, and its own check of names). */

/** With fewer days left, the renewal that should have happened did not. */
export const certificateDays = 21

export function isNameCode(code: string): boolean {
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID'
}

export function isExpiryCode(code: string): boolean {
  return code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID'
}

/** The way from the certificate to an authority that is trusted has a gap. */
export function isChainCode(code: string): boolean {
  return /^(?:UNABLE_TO_(?:GET_ISSUER_CERT(?:_LOCALLY)?|VERIFY_LEAF_SIGNATURE)|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|CERT_UNTRUSTED)$/.test(
    code,
  )
}

export function isCertificateCode(code: string): boolean {
  return (
    isNameCode(code) || isExpiryCode(code) || isChainCode(code) || /^CERT_|^ERR_TLS_/.test(code)
  )
}

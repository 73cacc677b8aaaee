/* Verifies one signed file with libxmlsec1 in a loop: driver KEY.pem FILE SECONDS. The key is read once. Prints how
 * often it verified, the processor seconds that took, and the peak memory in KiB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <xmlsec/crypto.h>
#include <xmlsec/templates.h>
#include <xmlsec/xmldsig.h>
#include <xmlsec/xmlsec.h>
#include <xmlsec/xmltree.h>

static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void verify(const char *bytes, int size, xmlSecKeyPtr key) {
    static const xmlChar *ids[] = {BAD_CAST "Id", NULL};
    xmlDocPtr document = xmlReadMemory(bytes, size, NULL, NULL, XML_PARSE_HUGE | XML_PARSE_NONET);
    if (document == NULL) exit(2);
    xmlSecAddIDs(document, xmlDocGetRootElement(document), ids);
    xmlNodePtr node = xmlSecFindNode(xmlDocGetRootElement(document), xmlSecNodeSignature, xmlSecDSigNs);
    xmlSecDSigCtxPtr context = xmlSecDSigCtxCreate(NULL);
    if (node == NULL || context == NULL) exit(3);
    context->signKey = xmlSecKeyDuplicate(key);
    if (xmlSecDSigCtxVerify(context, node) < 0 || context->status != xmlSecDSigStatusSucceeded) exit(4);
    xmlSecDSigCtxDestroy(context);
    xmlFreeDoc(document);
}

int main(int count, char **arguments) {
    if (count != 4) return 1;
    xmlInitParser();
    if (xmlSecInit() < 0 || xmlSecCryptoAppInit(NULL) < 0 || xmlSecCryptoInit() < 0) return 1;
    xmlSecKeyPtr key = xmlSecCryptoAppKeyLoad(arguments[1], xmlSecKeyDataFormatPem, NULL, NULL, NULL);
    FILE *file = fopen(arguments[2], "rb");
    if (key == NULL || file == NULL) return 1;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *bytes = malloc(size);
    if (bytes == NULL || fread(bytes, 1, size, file) != (size_t)size) return 1;
    double seconds = atof(arguments[3]);
    verify(bytes, (int)size, key);
    double start = processor_seconds(), now = start;
    long verified = 0;
    do {
        verify(bytes, (int)size, key);
        verified++;
        now = processor_seconds();
    } while (now - start < seconds);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%ld %f %ld\n", verified, now - start, usage.ru_maxrss);
    return 0;
}

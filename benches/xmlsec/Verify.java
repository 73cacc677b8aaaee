import java.io.ByteArrayInputStream;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;
import javax.xml.crypto.KeySelector;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/**
 * Verifies one signed file with the JDK's XML-DSig in a loop: Verify KEY.pem FILE SECONDS WARM_UP_SECONDS. The key is
 * read once. Prints how often it verified, the seconds of this thread on a processor (the collector's and the
 * compiler's threads are not counted), and the peak memory in KiB.
 */
public class Verify {
    static final XMLSignatureFactory FACTORY = XMLSignatureFactory.getInstance("DOM");

    static void verify(DocumentBuilder builder, byte[] bytes, PublicKey key) throws Exception {
        Document document = builder.parse(new ByteArrayInputStream(bytes));
        Element body = (Element) document.getElementsByTagNameNS("urn:bench", "Body").item(0);
        body.setIdAttribute("Id", true);
        Element node = (Element) document.getElementsByTagNameNS(XMLSignature.XMLNS, "Signature").item(0);
        DOMValidateContext context = new DOMValidateContext(KeySelector.singletonKeySelector(key), node);
        if (!FACTORY.unmarshalXMLSignature(context).validate(context)) {
            throw new IllegalStateException("the signature is not valid");
        }
    }

    static long run(DocumentBuilder builder, byte[] bytes, PublicKey key, double seconds, double[] took)
            throws Exception {
        var thread = ManagementFactory.getThreadMXBean();
        long start = thread.getCurrentThreadCpuTime(), verified = 0;
        do {
            verify(builder, bytes, key);
            verified++;
            took[0] = (thread.getCurrentThreadCpuTime() - start) / 1e9;
        } while (took[0] < seconds);
        return verified;
    }

    public static void main(String[] arguments) throws Exception {
        String pem = Files.readString(Path.of(arguments[0])).replaceAll("-----[A-Z ]+-----|\\s", "");
        var spec = new X509EncodedKeySpec(Base64.getDecoder().decode(pem));
        PublicKey key = KeyFactory.getInstance("RSA").generatePublic(spec);
        byte[] bytes = Files.readAllBytes(Path.of(arguments[1]));
        var factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        DocumentBuilder builder = factory.newDocumentBuilder();
        double[] took = new double[1];
        double warmUp = Double.parseDouble(arguments[3]);
        if (warmUp > 0) {
            run(builder, bytes, key, warmUp, took);
        }
        long verified = run(builder, bytes, key, Double.parseDouble(arguments[2]), took);
        String peak = Files.readString(Path.of("/proc/self/status")).replaceAll("(?s).*VmHWM:\\s*(\\d+).*", "$1");
        System.out.println(verified + " " + took[0] + " " + peak);
    }
}

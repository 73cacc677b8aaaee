import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import javax.activation.DataHandler;
import javax.activation.FileDataSource;
import javax.xml.datatype.DatatypeFactory;
import javax.xml.ws.BindingProvider;
import javax.xml.ws.Holder;
import javax.xml.ws.WebServiceFeature;
import javax.xml.ws.soap.AddressingFeature;
import javax.xml.ws.soap.MTOMFeature;
import peer.xta.*;

/**
 * One call of the XTA web service per run, through classes that wsimport made from the server's own WSDL.
 *
 * Every attachment travels as an MTOM part, and a reply without WS-Addressing headers is an error. Keys come from
 * the JVM's system properties. Data goes to standard output; a fault is one line "fault CODE NAME" and exit code 3.
 */
public final class Driver {
    private static final WebServiceFeature[] FEATURES = {new MTOMFeature(true), new AddressingFeature(true, true)};
    private static final ObjectFactory MAKE = new ObjectFactory();

    private final XTAService service = new XTAService();
    private final PartyType self;

    private Driver(String self) {
        this.self = party(self);
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(System.getenv("PEER_SELF"));
        try {
            driver.run(arguments);
        } catch (PermissionDeniedException e) {
            fault(e, e.getFaultInfo());
        } catch (ParameterIsNotValidException e) {
            fault(e, e.getFaultInfo());
        } catch (InvalidMessageIDException e) {
            fault(e, e.getFaultInfo());
        } catch (CancelDeniedException e) {
            fault(e, e.getFaultInfo());
        } catch (XTAWSTechnicalProblemException e) {
            fault(e, e.getFaultInfo());
        }
    }

    private void run(String[] a) throws Exception {
        switch (a[0]) {
            case "check" -> management().checkAccountActive(self);
            case "lookup" -> System.out.println(lookup(a[1], a[2]));
            case "new" -> System.out.println(management().createMessageId(self).getValue());
            case "send" -> send(a[1], a[2], a[3], new File(a[4]), a.length > 5 ? a[5] : null);
            case "list" -> list();
            case "get" -> fetch(a[1], Path.of(a[2]));
            case "close" -> close(a[1]);
            case "report" -> System.out.println(
                    management().getTransportReport(self, uri(a[1])).getMessageStatus().getStatus());
            case "cancel" -> management().cancelMessage(self, uri(a[1]));
            default -> throw new IllegalArgumentException(a[0]);
        }
    }

    private String lookup(String reader, String serviceType) throws Exception {
        LookupServiceType question = MAKE.createLookupServiceType();
        question.setReader(party(reader));
        question.setServiceType(serviceType);
        LookupServiceRequest.LookupServiceRequestList list = MAKE.createLookupServiceRequestLookupServiceRequestList();
        list.setLookupService(question);
        LookupServiceRequest request = MAKE.createLookupServiceRequest();
        request.getLookupServiceRequestList().add(list);
        LookupServiceResultType answer = management().lookupService(self, request)
                .getLookupServiceResultList().getLookupServiceResult().get(0);
        if (!answer.getServiceType().equals(serviceType)) {
            throw new IllegalStateException("the answer quotes another service: " + answer.getServiceType());
        }
        Boolean available = answer.getIsServiceAvailableValue().isServiceIsAvailable();
        return available == null ? "unknown" : available.toString();
    }

    private void send(String id, String reader, String serviceType, File folder, String notBefore) throws Exception {
        MessageMetaDataType order = MAKE.createMessageMetaDataType();
        DeliveryAttributesType delivery = MAKE.createDeliveryAttributesType();
        if (notBefore != null) {
            delivery.setNotBefore(DatatypeFactory.newInstance().newXMLGregorianCalendar(notBefore));
        }
        order.setDeliveryAttributes(delivery);
        order.setOriginators(MAKE.createOriginatorsType());
        order.getOriginators().setAuthor(self);
        order.setDestinations(MAKE.createDestinationsType());
        order.getDestinations().setReader(party(reader));
        order.setMsgIdentification(MAKE.createMsgIdentificationType());
        order.getMsgIdentification().setMessageID(uri(id));
        order.setQualifier(qualifier(serviceType));

        ContentContainerType content = MAKE.createContentContainerType();
        content.setMessage(part(new File(folder, "message.xml"), "application/xml"));
        for (String name : List.of("one.bin", "two.txt", "empty.bin", "large.bin")) {
            content.getAttachment().add(part(new File(folder, name), "application/octet-stream"));
        }
        GenericContentContainer container = MAKE.createGenericContentContainer();
        container.setContentContainer(content);
        service.getSendXtaPort(FEATURES).sendMessage(order, null, container);
    }

    private static QualifierType qualifier(String serviceType) {
        QualifierType qualifier = MAKE.createQualifierType();
        qualifier.setSubject("Prüfnachricht");
        qualifier.setService(serviceType);
        QualifierType.BusinessScenario scenario = MAKE.createQualifierTypeBusinessScenario();
        scenario.setDefined(MAKE.createKeyCodeType());
        scenario.getDefined().setCode("XMELD_DATA");
        scenario.getDefined().setListURI("urn:de:xta:codeliste:business.scenario");
        scenario.getDefined().setListVersionID("3.6");
        qualifier.setBusinessScenario(scenario);
        QualifierType.MessageType type = MAKE.createQualifierTypeMessageType();
        type.setCode("rueckmeldung.auswertung.0201");
        type.setListURI("urn:de:payloadSchema:elementName");
        type.setListVersionID("1.0");
        type.setPayloadSchema("http://www.osci.de/xmeld2511");
        qualifier.setMessageType(type);
        return qualifier;
    }

    private void list() throws Exception {
        MsgBoxStatusListRequestType request = MAKE.createMsgBoxStatusListRequestType();
        request.setMaxListItems(java.math.BigInteger.valueOf(100));
        request.setListForm("MessageMetaData");
        Holder<MsgBoxResponseType> box = new Holder<>();
        Holder<MsgStatusListType> found = new Holder<>();
        box().getStatusList(self, request, box, found);
        for (MessageMetaDataType entry : found.value.getMessageMetaData()) {
            System.out.println(entry.getMsgIdentification().getMessageID().getValue());
        }
    }

    private void fetch(String id, Path folder) throws Exception {
        MsgBoxFetchRequestType request = MAKE.createMsgBoxFetchRequestType();
        request.setMsgSelector(MAKE.createMsgSelectorType());
        request.getMsgSelector().getMessageID().add(uri(id));
        Holder<MessageMetaDataType> order = new Holder<>();
        Holder<MsgBoxResponseType> box = new Holder<>();
        Holder<GenericContentContainer> container = new Holder<>();
        box().getMessage(self, request, order, box, container);
        Files.createDirectories(folder);
        ContentContainerType content = container.value.getContentContainer();
        save(content.getMessage(), folder);
        for (ContentType attachment : content.getAttachment()) {
            save(attachment, folder);
        }
        MessageMetaDataType m = order.value;
        String facts = String.join("\n",
                m.getMsgIdentification().getMessageID().getValue(),
                m.getOriginators().getAuthor().getIdentifier().getValue(),
                m.getDestinations().getReader().getIdentifier().getValue(),
                m.getQualifier().getService(),
                m.getQualifier().getMessageType().getCode(), "");
        Files.writeString(folder.resolve("metadata.txt"), facts, StandardCharsets.UTF_8);
    }

    private void close(String id) throws Exception {
        MsgBoxIteratorType request = MAKE.createMsgBoxIteratorType();
        request.setMsgBoxRequestID("1");
        request.getLastMsgReceived().add(uri(id));
        box().close(self, request);
    }

    private ManagementPortType management() {
        return service.getManagementPort(FEATURES);
    }

    private MsgBoxPortType box() {
        return service.getMsgBoxPort(FEATURES);
    }

    private static ContentType part(File file, String contentType) {
        ContentType part = MAKE.createContentType();
        part.setContentType(contentType);
        part.setFilename(file.getName());
        part.setValue(new DataHandler(new FileDataSource(file)));
        return part;
    }

    private static void save(ContentType part, Path folder) throws IOException {
        try (InputStream bytes = part.getValue().getInputStream()) {
            Files.copy(bytes, folder.resolve(part.getFilename()), StandardCopyOption.REPLACE_EXISTING);
        }
    }

    private static PartyType party(String value) {
        PartyType party = MAKE.createPartyType();
        party.setIdentifier(MAKE.createPartyIdentifierType());
        party.getIdentifier().setType("xoev");
        party.getIdentifier().setValue(value);
        return party;
    }

    private static AttributedURIType uri(String value) {
        AttributedURIType uri = MAKE.createAttributedURIType();
        uri.setValue(value);
        return uri;
    }

    private static void fault(Exception thrown, ExceptionType info) {
        System.out.println("fault " + info.getErrorCode().getCode() + " " + thrown.getClass().getSimpleName());
        System.exit(3);
    }
}
